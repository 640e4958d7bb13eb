"""What our own metrics of the `evaluate` library share: texts in, a value for each out, nothing to download.

The hub's metrics download their script. It imports `evaluate` when it is imported, so components import it, and the
metrics built on it, at their first use.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate


class TextMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric that compares each text with one reference. Its results are lists: one value for each text."""

    def _info(self) -> Any:
        texts = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="predictions and references: lists of texts of the same length.",
            features=texts,
        )

    def _download_and_prepare(self, dl_manager: Any) -> None:
        """Nothing to download."""
