"""Whether the rewards that a run optimised are those that its files and its log show.

The groups on disk hold raw scores and rewards. Each reward is worked out again from the raw scores by the recipe's maps
and weights; and the mean that was logged of each round, taken from the very groups that training got, must be the mean
of the file. Equal means equal to the last digit: both are the same sums.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from copgkit.recipe import Recipe
from copgkit.recipe.schema import RewardUse
from copgkit.store import RunFolder, read_groups
from copgkit.types import Score, ScoredGroup

LOGGED = "round/reward/mean"


def check_rewards(folder: RunFolder, recipe: Recipe, rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """What run.json says of the rewards: by source the mean of its raw scores and of what they added, how many rewards
    were looked at, and how many of them and of the rounds' means do not agree."""
    logged = [row[LOGGED] for row in rows if LOGGED in row]
    raw: dict[str, list[float]] = {use.label: [] for use in recipe.rewards}
    added: dict[str, list[float]] = {use.label: [] for use in recipe.rewards}
    checked = wrong = wrong_means = 0
    for number, file in enumerate(sorted(folder.groups.glob("round-*.jsonl"))):
        groups = [group for group in read_groups(file) if group.rewards]
        for group in groups:
            terms = {use.label: [_term(use, score) for score in group.scores[use.label]] for use in recipe.rewards}
            checked += len(group.rewards)
            wrong += sum(
                again != reward for again, reward in zip(_rewards(group, terms, recipe), group.rewards, strict=True)
            )
            for use in recipe.rewards:
                raw[use.label] += [one.value for one in group.scores[use.label] if one.value is not None]
                added[use.label] += [term for term in terms[use.label] if term is not None]
        if number < len(logged) and groups:
            wrong_means += statistics.fmean(one for group in groups for one in group.rewards) != logged[number]
    return {
        "sources": {label: {"raw-mean": _mean(raw[label]), "weighted-mean": _mean(added[label])} for label in raw},
        "checked": checked,
        "wrong-rewards": wrong,
        "wrong-means": wrong_means,
    }


def disagreement(found: Mapping[str, Any]) -> str | None:
    """The warning, if what was logged is not what was optimised."""
    if not found["wrong-rewards"] and not found["wrong-means"]:
        return None
    return (
        f"rewards: {found['wrong-rewards']} of {found['checked']} rewards in groups/ are not what their scores and the"
        f" recipe's weights give, and the logged mean of {found['wrong-means']} rounds is not that of"
        " their file. The files were changed while the run went on, or this is a bug: do not rely on this run."
    )


def _rewards(group: ScoredGroup, terms: Mapping[str, Sequence[float | None]], recipe: Recipe) -> list[float]:
    penalty = recipe.scoring.unfinished_penalty
    rewards = []
    for k, completion in enumerate(group.group.completions):
        own = [term for column in terms.values() if (term := column[k]) is not None]
        if penalty is not None and not completion.finished:
            own.append(penalty)
        rewards.append(math.fsum(own))
    return rewards


def _term(use: RewardUse, score: Score) -> float | None:
    """What a score adds by the recipe; None for an abstention."""
    if score.value is None:
        return None
    low, high = use.clip or (-math.inf, math.inf)
    return use.weight * (use.scale * min(max(score.value, low), high) + use.shift)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
