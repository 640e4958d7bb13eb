"""From the probabilities of sentences and windows to one number: pure functions.

As in SummaC's zero-shot model (Laban et al., arXiv:2111.09525): a sentence is as well supported as by the window that
supports it best, and a text as well as its sentences on average. `min` is the strict reading (one invented sentence
spoils the text); `product` is the probability that all sentences hold if they were independent, and falls with length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Over = Literal["mean", "min", "product"]


@dataclass(frozen=True)
class Support:
    """What the source says of one sentence, in the window that supports it best: two probabilities in [0, 1]."""

    entailment: float
    contradiction: float = 0.0


def best_window(windows: Sequence[Support]) -> Support:
    """The window with the highest probability of entailment; of several, the one that contradicts least."""
    return max(windows, key=lambda window: (window.entailment, -window.contradiction))


def over_sentences(probabilities: Sequence[float], over: Over) -> float:
    """One probability for all sentences, of which there is at least one."""
    if over == "mean":
        return fmean(probabilities)
    return min(probabilities) if over == "min" else math.prod(probabilities)


def log_odds(probability: float, epsilon: float) -> float:
    """ln p/(1-p), with p kept in [epsilon, 1 - epsilon]: bounded by ln (1-epsilon)/epsilon on both sides."""
    kept = min(max(probability, epsilon), 1 - epsilon)
    return math.log(kept) - math.log1p(-kept)
