"""Contrasts: which pairs of a group count, as weights on top of those that a sampler inside has given.

    sampler: {use: best-vs-worst, options: {sampler: {use: reference, options: {completions_per_prompt: 8}}}}

Weights may depend on rewards: every pair's loss is smallest at the optimum, so that the optimum stays as long as the
pairs that count connect the completions of a prompt. Where they may not, the ratio between the parts is left to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from copgkit import Group, PairWeights, ScoredGroup
from copgkit_samplers.wrapping import Wrapper

Counts = Callable[[int, int], bool]
"""Whether the pair of two completions of a group counts, by their numbers; asked for either order."""


class Contrast(Wrapper):
    """Common part of the contrasts by reward. A group in which no pair is left is left out."""

    def counts(self, rewards: Sequence[float]) -> Counts:
        """Which pairs of a group with these rewards count."""
        raise NotImplementedError

    def setup(self) -> None:
        """Has left out no group yet."""
        super().setup()
        self._left_out = 0

    def choose(self, scored: Sequence[ScoredGroup]) -> list[ScoredGroup]:
        """The groups with their weights, without those in which none is left."""
        weighted = [replace(one, group=_weighted(one.group, self.counts(one.rewards))) for one in scored]
        kept = [one for one in weighted if _contrasts(one.group)]
        self._left_out = len(scored) - len(kept)
        return kept

    def statistics(self) -> dict[str, float]:
        """Groups that were left out of the last round, beside the figures of the sampler inside."""
        return {**super().statistics(), "groups/without-pairs": self._left_out}


class AllPairs(Wrapper):
    """Every pair of a group counts equally: the default, for undoing the weights of a sampler inside."""

    def choose(self, scored: Sequence[ScoredGroup]) -> list[ScoredGroup]:
        """The groups without weights."""
        return [replace(one, group=replace(one.group, pair_weights=None)) for one in scored]


class FirstVsRest(Wrapper):
    """The first completion of each group against all others: the paper's mu1 x mu2.

    For data in which the first completion came about differently (an answer by a person, another model). The pairs form
    a star, which connects all of a group. A group whose first completion was dropped is left out.
    """

    def draw(self, num_groups: int | None) -> list[Group]:
        """Weights are given here, while it is known which completion was drawn first."""
        return [_weighted(group, lambda i, j: 0 in (i, j)) for group in super().draw(num_groups)]

    def choose(self, scored: Sequence[ScoredGroup]) -> list[ScoredGroup]:
        """The groups that still have their first completion."""
        return [one for one in scored if _contrasts(one.group)]


class BestVsWorst(Contrast):
    """The completions of highest reward against those of lowest; if all are equal, every pair.

    Completions in between do not count. By chance every completion is sometimes the best or worst of its group, so that
    with endless fresh groups the pairs connect; with groups drawn once, or many completions in each, some never are,
    and their probability is not trained.
    """

    own_caveat = (
        "completions that are neither best nor worst of their group are not trained on, so that the ratios between them"
        " and the others may end anywhere."
    )

    def counts(self, rewards: Sequence[float]) -> Counts:
        """Best with worst."""
        best, worst = max(rewards), min(rewards)
        return lambda i, j: (rewards[i], rewards[j]) in ((best, worst), (worst, best))


class AboveThreshold(Contrast):
    """Completions with a reward of at least the threshold against those below it.

    Two on the same side are compared through the other side only. A prompt whose completions all lie on one side gives
    nothing to train on, and stays where its neighbours leave it.
    """

    own_caveat = "prompts whose completions all lie on one side of the threshold are not trained on."

    class Options(Wrapper.Options):
        threshold: float = Field(description="The reward from which a completion counts as above.")

    def counts(self, rewards: Sequence[float]) -> Counts:
        """One above, one below."""
        above = [reward >= self.options.threshold for reward in rewards]
        return lambda i, j: above[i] != above[j]


def _weighted(group: Group, counts: Counts) -> Group:
    """The group with weight 0 for every pair that does not count; the others keep what they have, or get 1."""
    numbers = range(len(group.completions))
    old: Any = group.pair_weights or [[1.0] * len(numbers)] * len(numbers)
    weights: PairWeights = tuple(
        tuple(float(old[i][j]) if i != j and counts(i, j) else 0.0 for j in numbers) for i in numbers
    )
    return replace(group, pair_weights=weights)


def _contrasts(group: Group) -> bool:
    """Whether any pair of two different completions is left."""
    weights = group.pair_weights
    return weights is None or any(weight > 0 for i, row in enumerate(weights) for weight in row[i + 1 :])
