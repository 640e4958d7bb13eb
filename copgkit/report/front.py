"""Which of several runs are worth their KL: the Pareto front of reward against KL, and what the best lead is worth.

A run is on the front if no other has as much reward at no more KL. Means have intervals, so that a run behind the front
is only called beaten where another one's reward is clearly higher at no more KL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from copgkit.report.finished import FinishedRun, paired_difference
from copgkit.report.summary import Interval

_OTHER_REWARDS = (
    "The rewards are different sums of their sources, so that their means cannot be ranked: compare the sources' own"
    " columns."
)
Standing = Literal["front", "within noise", "beaten", "unknown"]


@dataclass(frozen=True)
class Place:
    """Where a run stands on the plane; None where it was not measured."""

    label: str
    reward: Interval | None
    kl: Interval | None
    standing: Standing


@dataclass(frozen=True)
class Best:
    """The run with the highest mean reward, and in words how far that can be relied on."""

    label: str
    reward: Interval
    kl: Interval | None
    caveats: tuple[str, ...]


def places(runs: Sequence[FinishedRun]) -> list[Place]:
    """Every run's place, in order."""
    points = [(run.figures.get("reward/mean"), run.figures.get("kl/mean")) for run in runs]
    known = [(reward, kl) for reward, kl in points if reward is not None and kl is not None]
    return [
        Place(run.label, reward, kl, "unknown" if reward is None or kl is None else _standing(reward, kl, known))
        for run, (reward, kl) in zip(runs, points, strict=True)
    ]


def front_of(found: Sequence[Place]) -> list[Place]:
    """Those on the front, by KL."""
    return sorted((one for one in found if one.standing == "front"), key=lambda one: one.kl.value if one.kl else 0.0)


def best_of(runs: Sequence[FinishedRun], same_reward: bool = True) -> Best | None:
    """The run with the highest reward at its last evaluation; None if none was evaluated.

    same_reward: False where the rows' rewards are different sums, whose means cannot be ranked.
    """
    measured = [run for run in runs if "reward/mean" in run.figures]
    if not measured:
        return None
    best = max(measured, key=lambda run: run.figures["reward/mean"].value)
    reward = best.figures["reward/mean"]
    caveats = [_lead(best, [run for run in measured if run is not best]), _optimism(len(measured), reward)]
    caveats.append(_seeds(runs))
    if not same_reward:
        caveats.insert(0, _OTHER_REWARDS)
    warned = [run.label for run in runs if run.record.get("warnings")]
    if warned:
        caveats.append(f"Warnings were given by {_listed(warned)}: read their reports.")
    return Best(best.label, reward, best.figures.get("kl/mean"), tuple(one for one in caveats if one))


def _standing(reward: Interval, kl: Interval, known: Sequence[tuple[Interval, Interval]]) -> Standing:
    ahead = [other for other in known if _no_worse(other, (reward, kl))]
    if not ahead:
        return "front"
    return "beaten" if any(better.low > reward.high for better, _ in ahead) else "within noise"


def _no_worse(other: tuple[Interval, Interval], own: tuple[Interval, Interval]) -> bool:
    """Whether the other has at least the reward at no more KL, and is better in one of them."""
    reward, kl = other[0].value - own[0].value, own[1].value - other[1].value
    return reward >= 0 and kl >= 0 and (reward > 0 or kl > 0)


def _lead(best: FinishedRun, others: Sequence[FinishedRun]) -> str:
    """Which of the others the best is not clearly ahead of, prompt by prompt."""
    close = []
    for other in others:
        gain = paired_difference(best, other)
        if gain.low <= 0 if gain else not best.figures["reward/mean"].apart_from(other.figures["reward/mean"]):
            shown = "" if gain is None else f" ({gain.value:+.3f} [{gain.low:.3f}, {gain.high:.3f}])"
            close.append(f"{other.label}{shown}")
    if not others:
        return ""
    if not close:
        return "On these prompts its reward is clearly higher than that of every other row."
    return f"Its lead is within the noise over {_listed(close)}: take whichever of these has less KL."


def _optimism(count: int, reward: Interval) -> str:
    """What choosing the highest of several means adds by chance alone."""
    if count < 2:
        return ""
    error = (reward.high - reward.low) / (2 * 1.96)
    factor = NormalDist().inv_cdf((count - 0.375) / (count + 0.25))  # Blom's approximation of the highest of n normals
    return (
        f"The best of {count} is chosen by the prompts that it is measured on: were all rows equal, the highest would"
        f" look up to {factor * error:.2g} too good. Measure it once more on other prompts."
    )


def _seeds(runs: Sequence[FinishedRun]) -> str:
    seeds = {run.record.get("seed") for run in runs}
    if len(seeds) > 1:
        return ""
    return (
        f"Every row has one seed ({next(iter(seeds))}): how much another seed would change is not in these intervals."
    )


def _listed(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
