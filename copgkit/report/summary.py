"""Before and after: the first and the last evaluation of a run side by side, with 95 % confidence intervals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Row = Mapping[str, float]

# What a reader looks for first; everything else follows by name.
_ORDER = ("reward/mean", "kl/mean", "win-rate/share", "faithful/share")


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.value == self.high:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Line:
    """One figure before and after training. name without `eval/`; before is None if it was not measured then."""

    name: str
    before: Interval | None
    after: Interval

    @property
    def difference(self) -> float | None:
        return None if self.before is None else self.after.value - self.before.value


@dataclass(frozen=True)
class Summary:
    """The table at the end of a run. gain: the reward's rise in standard deviations of the reference's samples."""

    steps: int
    lines: Sequence[Line]
    gain: float | None = None

    def line(self, name: str) -> Line | None:
        """The line of this name ("reward/mean"), or None."""
        return next((line for line in self.lines if line.name == name), None)

    @property
    def headline(self) -> str:
        """The result in one sentence, with numbers."""
        reward, kl = self.line("reward/mean"), self.line("kl/mean")
        if reward is None or reward.before is None:
            return f"Trained for {self.steps} steps; the reward was not evaluated."
        text = f"Reward {reward.before.value:.3f} → {reward.after.value:.3f} after {self.steps} steps"
        if self.gain is not None:
            text += f" ({self.gain:+.2f} standard deviations of the reference's samples)"
        if kl is not None:
            text += f", at a KL of {kl.after.value:.2f} nats per completion"
        faithful = self.line("faithful/share")
        if faithful is not None and faithful.before is not None:
            text += f"; faithful summaries {faithful.before.value:.0%} → {faithful.after.value:.0%}"
        return text + "."


def evaluations(rows: Sequence[Row]) -> list[Row]:
    """The rows that hold an evaluation, in order."""
    return [row for row in rows if any(name.startswith("eval/") for name in row)]


def figures_of(row: Row) -> dict[str, Interval]:
    """The figures of an evaluation row by name without `eval/`."""
    names = [name for name in row if name.startswith("eval/") and not name.endswith(("/low", "/high"))]
    return {
        name.removeprefix("eval/"): Interval(
            row[name], row.get(f"{name}/low", row[name]), row.get(f"{name}/high", row[name])
        )
        for name in names
    }


def summarise(rows: Sequence[Row], reference_rewards: Sequence[float] = ()) -> Summary:
    """The first and last evaluation among the rows as a table.

    reference_rewards: the rewards of the reference's samples, whose deviation the gain is measured in.
    """
    steps = int(max((row.get("step", 0) for row in rows), default=0))
    held = evaluations(rows)
    if not held:
        return Summary(steps, ())
    before, after = figures_of(held[0]), figures_of(held[-1])
    names = sorted(after, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    lines = [Line(name, before.get(name) if len(held) > 1 else None, after[name]) for name in names]
    return Summary(steps, lines, _gain(lines, reference_rewards))


def _gain(lines: Sequence[Line], reference_rewards: Sequence[float]) -> float | None:
    reward = next((line for line in lines if line.name == "reward/mean"), None)
    if reward is None or reward.difference is None or len(reference_rewards) < 2:
        return None
    deviation = statistics.stdev(reference_rewards)
    return reward.difference / deviation if deviation > 0 else None


def as_text(summary: Summary) -> list[tuple[str, str, str, str]]:
    """The table's cells: name, before, after, difference."""
    return [
        (
            line.name,
            "" if line.before is None else str(line.before),
            str(line.after),
            "" if line.difference is None else f"{line.difference:+.3f}",
        )
        for line in summary.lines
    ]
