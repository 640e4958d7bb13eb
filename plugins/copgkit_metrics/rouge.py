"""ROUGE as a local metric of the `evaluate` library: the hub's metric downloads its script, this one needs no network.

It imports `evaluate` and `rouge_score` when it is imported, so evaluators import it at their first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from rouge_score.rouge_scorer import RougeScorer


class LocalRouge(evaluate.Metric):  # type: ignore[misc]
    """F1 of ROUGE (Lin 2004) for each prediction, computed by the `rouge_score` package."""

    def _info(self) -> Any:
        texts = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description="ROUGE F1 of each prediction against its reference.",
            citation="",
            inputs_description="predictions and references: lists of texts of the same length.",
            features=texts,
        )

    def _download_and_prepare(self, dl_manager: Any) -> None:
        """Nothing to download."""

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        rouge_types: Sequence[str] = ("rouge1", "rouge2", "rougeL"),
        use_stemmer: bool = True,
    ) -> dict[str, list[float]]:
        scorer = RougeScorer(list(rouge_types), use_stemmer=use_stemmer)
        rows = [scorer.score(reference, text) for text, reference in zip(predictions, references, strict=True)]
        return {name: [row[name].fmeasure for row in rows] for name in rouge_types}
