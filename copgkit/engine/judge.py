"""One reward source on the panel, and what becomes of its scores.

    raw score -> clip -> scale * x + shift -> weight -> a term of the reward

The map is the same for every group. There is no division by a group's standard deviation: it would give every prompt a
beta of its own, and with it another optimum than the one the objective states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from copgkit.components import RewardSource
from copgkit.engine.asking import Shelf
from copgkit.types import Score, ScoredGroup


@dataclass(frozen=True)
class Judge:
    """A reward source, its name in metrics, and its map. shelf: where its answers are kept, if they are."""

    label: str
    source: RewardSource
    weight: float = 1.0
    clip: tuple[float, float] | None = None
    scale: float = 1.0
    shift: float = 0.0
    shelf: Shelf | None = None

    @property
    def maps(self) -> bool:
        """Whether clip, scale and shift change anything."""
        return (self.clip, self.scale, self.shift) != (None, 1.0, 0.0)

    def mapped(self, score: Score) -> float | None:
        """The value after clip, scale and shift; None for an abstention, which no shift makes a number of."""
        if score.value is None or not self.maps:
            return score.value
        low, high = self.clip or (-math.inf, math.inf)
        return self.scale * min(max(score.value, low), high) + self.shift

    def weighted(self, score: Score) -> float | None:
        """What the score adds to the reward; None for an abstention."""
        value = self.mapped(score)
        return None if value is None else self.weight * value

    def figures(self, groups: Sequence[ScoredGroup]) -> dict[str, float]:
        """Means of its raw, mapped and weighted values, and how often it abstained or was clipped, by metric name."""
        scores = [score for group in groups for score in group.scores[self.label]]
        values = [score.value for score in scores if score.value is not None]
        row: dict[str, float] = {}
        if values:
            row["raw-mean"] = _mean(values)
            if self.maps:
                row["mapped-mean"] = _mean([value for score in scores if (value := self.mapped(score)) is not None])
            row["weighted-mean"] = _mean([term for score in scores if (term := self.weighted(score)) is not None])
        if self.clip is not None:
            row["clipped"] = sum(not self.clip[0] <= value <= self.clip[1] for value in values)
        if len(values) < len(scores):
            row["abstained"] = len(scores) - len(values)
        return {f"reward/{self.label}/{name}": figure for name, figure in row.items()}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
