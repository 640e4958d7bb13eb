"""ROUGE as a local metric of the `evaluate` library, which needs no network.

It imports `evaluate` and `rouge_score` when it is imported, so components import it at their first use.
"""

from __future__ import annotations

from collections.abc import Sequence

from rouge_score.rouge_scorer import RougeScorer

from copgkit_metrics.local import TextMetric


class LocalRouge(TextMetric):
    """F1 of ROUGE (Lin 2004) for each text against its reference, computed by the `rouge_score` package."""

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
