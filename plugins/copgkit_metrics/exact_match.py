"""Exact match as a local metric of the `evaluate` library, which needs no network.

Before two texts are compared, runs of white space become one space and both ends are trimmed; more is ignored only
where it is asked for. Punctuation stays by default: without it -3 equals 3, and 3.14 equals 314.

It imports `evaluate` when it is imported, so components import it at their first use.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from copgkit_metrics.local import TextMetric

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.IGNORECASE)


class LocalExactMatch(TextMetric):
    """1 for each text that equals its reference, else 0."""

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        ignore_case: bool = False,
        ignore_punctuation: bool = False,
        ignore_articles: bool = False,
    ) -> dict[str, list[float]]:
        def plain(text: str) -> str:
            return normalised(text, ignore_case, ignore_punctuation, ignore_articles)

        pairs = zip(predictions, references, strict=True)
        return {"exact_match": [float(plain(text) == plain(reference)) for text, reference in pairs]}


def normalised(text: str, ignore_case: bool, ignore_punctuation: bool, ignore_articles: bool) -> str:
    """The text without what is ignored: case, characters of Unicode's category P, English articles."""
    if ignore_case:
        text = text.casefold()
    if ignore_punctuation:
        text = "".join(character for character in text if not unicodedata.category(character).startswith("P"))
    if ignore_articles:
        text = _ARTICLES.sub(" ", text)
    return " ".join(text.split())
