"""Taking time: laps of wall and processor time, programs in alternating order, medians with their range.

On a machine that others use as well, wall time says little; a ratio of runs that lie beside each other says more, and
processor time most, though that too rises where caches are shared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class Elapsed(NamedTuple):
    """Seconds of the clock, and seconds that all threads of the process spent computing."""

    wall: float
    cpu: float


@dataclass
class Stopwatch:
    """Laps since start(). On a GPU each lap waits for the work that was queued."""

    device: str = "cpu"
    laps: list[Elapsed] = field(default_factory=list)
    _last: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        """Begins a new series of laps."""
        self.laps.clear()
        self._last = self._now()

    def lap(self) -> None:
        """Ends a lap and begins the next."""
        now = self._now()
        self.laps.append(Elapsed(now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now

    def _now(self) -> tuple[float, float]:
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


class Watch(Protocol):
    """What a program calls before its first step and after each: a stopwatch, or one for memory."""

    laps: list[Any]

    def start(self) -> None:
        """Begins a new series of laps."""
        ...

    def lap(self) -> None:
        """Ends a lap and begins the next."""
        ...


class Side(Protocol):
    """A program that takes training steps, and the watch that it was given."""

    name: str
    watch: Watch

    def run(self, steps: int) -> list[Any]:
        """What each of so many steps took, by the watch."""
        ...


@dataclass(frozen=True)
class Spread:
    """A median with the lowest and the highest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def shown(self, form: str = ".3g") -> str:
        """As "1.5 (1.2 to 1.9)"."""
        return f"{self.median:{form}} ({self.low:{form}} to {self.high:{form}})"


def interleave(
    sides: Sequence[Side], repeats: int, steps: int, say: Callable[[str], None] = lambda line: None
) -> dict[str, list[Elapsed]]:
    """Mean of a step for each side and repeat, after one step of each to warm up. Every second repeat takes the sides
    in the opposite order, so that a machine that grows slower slows none of them more than the other."""
    for side in sides:
        side.run(1)
    measured: dict[str, list[Elapsed]] = {side.name: [] for side in sides}
    for repeat in range(repeats):
        for side in sides if repeat % 2 == 0 else reversed(sides):
            laps = side.run(steps)
            mean = Elapsed(*(statistics.fmean(values) for values in zip(*laps, strict=True)))
            measured[side.name].append(mean)
            say(f"  {repeat + 1}/{repeats} {side.name}: {mean.wall:.2f} s a step, {mean.cpu:.2f} s of processor time")
    return measured


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Of values that were measured beside each other."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])
