"""Before and after: the first and the last evaluation of a run side by side, with 95 % confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Row = Mapping[str, float]

# What a reader looks for first, in words; everything else follows under its own name.
_LABELS = {
    "reward/mean": "reward",
    "kl/mean": "KL (nats)",
    "win-rate/share": "win rate",
    "faithful/share": "faithful",
    "finished/share": "finished",
    "length/mean": "length (words)",
}
_ORDER = tuple(_LABELS)


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval, which are infinite where nothing is known of its width."""

    value: float
    low: float
    high: float

    def apart_from(self, other: Interval) -> bool:
        """True if the two intervals do not meet: the change is larger than the noise."""
        return self.low > other.high or self.high < other.low


@dataclass(frozen=True)
class Line:
    """One figure before and after training. name without `eval/`; before is None if it was not measured then."""

    name: str
    before: Interval | None
    after: Interval

    @property
    def difference(self) -> float | None:
        return None if self.before is None else self.after.value - self.before.value

    @property
    def is_clear(self) -> bool:
        """True if the intervals before and after do not meet. Cautious: both are measured on the same prompts."""
        return self.before is not None and self.after.apart_from(self.before)

    @property
    def label(self) -> str:
        """The name as people say it."""
        return label_of(self.name)


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
        reward = self.line("reward/mean")
        if reward is None:
            return f"Trained for {self.steps} steps; the reward was not evaluated."
        if reward.before is None:
            return f"Trained for {self.steps} steps; reward {reward.after.value:.3f}, evaluated once."
        return f"{self._reward_sentence(reward, reward.before)}{self._price()}{self._faithfulness()}."

    def _reward_sentence(self, reward: Line, before: Interval) -> str:
        verb = "rose" if reward.after.value >= before.value else "fell"
        if not reward.is_clear:
            verb = "did not clearly change:"
        gain = "" if self.gain is None else f" ({self.gain:+.2f} standard deviations of the reference's samples)"
        return f"Reward {verb} from {before.value:.3f} to {reward.after.value:.3f}{gain} in {self.steps} steps"

    def _price(self) -> str:
        kl = self.line("kl/mean")
        return "" if kl is None else f", at a KL of {kl.after.value:.2f} nats per completion"

    def _faithfulness(self) -> str:
        faithful = self.line("faithful/share")
        if faithful is None or faithful.before is None:
            return ""
        return f"; faithful completions went from {faithful.before.value:.0%} to {faithful.after.value:.0%}"


class Cells(NamedTuple):
    """One line of the table as text; empty where there is nothing to say."""

    label: str
    before: str
    before_interval: str
    after: str
    after_interval: str
    difference: str
    is_clear: bool


def label_of(name: str) -> str:
    """A figure's name as people say it."""
    return _LABELS.get(name) or name.replace("/raw-mean", " (raw)")


def ordered(names: Iterable[str]) -> list[str]:
    """Names of figures, those that a reader looks for first in front."""
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


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
    lines = [Line(name, before.get(name) if len(held) > 1 else None, after[name]) for name in ordered(after)]
    return Summary(steps, lines, _gain(lines, reference_rewards))


def as_cells(summary: Summary) -> list[Cells]:
    """The table's lines as text, in order; shares in percent."""
    table = []
    for line in summary.lines:
        table.append(_cells(line))
        if line.name == "reward/mean" and summary.gain is not None:
            table.append(Cells("reward (deviations)", "", "", "", "", f"{summary.gain:+.2f}", line.is_clear))
    return table


def as_text(summary: Summary) -> str:
    """The table in plain text, columns aligned."""
    heads = ("", "before", "95 % interval", "after", "95 % interval", "difference")
    table = [heads, *(cells[:-1] for cells in as_cells(summary))]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(paired))
        for paired in (list(zip(cells, widths, strict=True)) for cells in table)
    )


def number(value: float, name: str) -> str:
    """A figure as text: shares in percent, everything else with three decimals, fewer where they would be noise."""
    if _is_share(name):
        return f"{100 * value:.1f} %"
    decimals = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:,.{decimals}f}"


def change(value: float, name: str) -> str:
    """A difference as text, with its sign; of shares in percentage points."""
    text = number(value, name).replace(" %", " pp")
    return text if text.startswith("-") else f"+{text}"


def _is_share(name: str) -> bool:
    return name.endswith(("/share", "/failed"))


def _cells(line: Line) -> Cells:
    before, after = line.before, line.after
    return Cells(
        line.label,
        "" if before is None else number(before.value, line.name),
        "" if before is None else ends(before, line.name),
        number(after.value, line.name),
        ends(after, line.name),
        "" if line.difference is None else change(line.difference, line.name),
        line.is_clear,
    )


def ends(interval: Interval, name: str) -> str:
    """An interval as text; empty where nothing is known of its width."""
    if interval.low == interval.high or not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    low, high = (number(end, name).removesuffix(" %") for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def _gain(lines: Sequence[Line], reference_rewards: Sequence[float]) -> float | None:
    reward = next((line for line in lines if line.name == "reward/mean"), None)
    if reward is None or reward.difference is None or len(reference_rewards) < 2:
        return None
    deviation = statistics.stdev(reference_rewards)
    return reward.difference / deviation if deviation > 0 else None
