"""Sentence BLEU as a local metric of the `evaluate` library, which needs no network.

BLEU+1 of Lin and Och (2004): modified n-gram precisions p_n of orders 1 to 4, where from n = 2 on one is added to the
matches and to the n-grams, so that a short text without a common 4-gram does not fall to zero;

    BLEU = min(1, exp(1 - r / c)) · (p_1 · ... · p_N)^(1/N)        c, r: tokens of the text and of the reference

Tokens are runs of letters and digits, and single other characters. Not comparable with corpus BLEU, which sums the
counts of all texts before it divides; for that take the hub's `sacrebleu`.

It imports `evaluate` when it is imported, so components import it at their first use.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from copgkit_metrics.local import TextMetric

_TOKEN = re.compile(r"\w+|[^\w\s]")


class LocalBleu(TextMetric):
    """BLEU+1 of each text against its reference, between 0 and 1."""

    def _compute(
        self, predictions: Sequence[str], references: Sequence[str], max_order: int = 4, ignore_case: bool = False
    ) -> dict[str, list[float]]:
        def plain(text: str) -> str:
            return text.casefold() if ignore_case else text

        pairs = zip(predictions, references, strict=True)
        return {"bleu": [sentence_bleu(plain(text), plain(reference), max_order) for text, reference in pairs]}


def sentence_bleu(text: str, reference: str, max_order: int = 4) -> float:
    """BLEU+1 of one text; 0 if it shares no token with the reference."""
    ours, theirs = _TOKEN.findall(text), _TOKEN.findall(reference)
    if not set(ours) & set(theirs):
        return 0.0
    logs = [math.log(_precision(ours, theirs, order)) for order in range(1, max_order + 1)]
    brevity = min(0.0, 1 - len(theirs) / len(ours))
    return math.exp(brevity + math.fsum(logs) / max_order)


def _precision(ours: Sequence[str], theirs: Sequence[str], order: int) -> float:
    counts = _ngrams(ours, order)
    matches = (counts & _ngrams(theirs, order)).total()
    added = int(order > 1)
    return (matches + added) / (counts.total() + added)


def _ngrams(tokens: Sequence[str], order: int) -> Counter[Any]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))
