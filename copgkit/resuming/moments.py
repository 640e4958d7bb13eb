"""Where in a run it can be broken off: hearing a run's phases, choosing among them, and breaking at one.

    whole = Listening()                       # as the progress of a run that nothing happens to
    breaks = breaks_of(whole.stretches, every)
    Listening(breaks[3])                      # as that of a run that ends there

A break is one of two: the process is gone in the middle of what it does, as if it were killed; or it is asked to end by
Ctrl-C, and saves first.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from copgkit.progress import Phase, Progress

TRAIN, REPORT = "train", "report"
_SECONDS_BETWEEN_LINES = 5.0


class BrokenOff(BaseException):
    """Stands for the end of the process: nothing in a run may take it for an error."""


@dataclass
class Stretch:
    """A phase that a run went through. number: which of its name, from 1. done of total units. step: the training
    steps taken when it began; None before training and after it."""

    name: str
    number: int
    total: int | None
    unit: str
    step: int | None = None
    done: int = 0


@dataclass(frozen=True)
class Break:
    """Where a run is broken off: in the phase of this name and number, when so many units are done; None: when it is
    over. asked: by Ctrl-C. words: where that is, for people."""

    phase: str
    number: int
    done: int | None
    words: str
    asked: bool = False

    def is_at(self, stretch: Stretch, over: bool) -> bool:
        """Whether it is time. One that was missed, as units come in batches, comes when the phase is over."""
        reached = self.done is not None and stretch.done >= self.done
        return (stretch.name, stretch.number) == (self.phase, self.number) and (over or reached)


AT_REPORT = Break(REPORT, 1, 0, "before the report")


class Listening(Progress):
    """Hears where a run is, and ends it at the first break that it comes to. say: gets a line every few seconds."""

    def __init__(self, *breaks: Break, say: Callable[[str], None] = lambda text: None) -> None:
        super().__init__()
        self.stretches: list[Stretch] = []
        self.came: Break | None = None
        self._breaks, self._say, self._said = breaks, say, time.monotonic()
        self._training: Stretch | None = None

    @contextmanager
    def phase(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Phase]:
        """A stretch of work, at whose beginning, middle or end the run may end."""
        number = 1 + sum(one.name == name for one in self.stretches)
        own = Stretch(name, number, total, unit, None if self._training is None else self._training.done)
        self.stretches.append(own)
        if name == TRAIN:
            self._training = own
        self.heard(own)
        yield _Heard(self, own)
        self.heard(own, over=True)
        if name == TRAIN:
            self._training = None

    def heard(self, stretch: Stretch, over: bool = False) -> None:
        """A run is here. Raises BrokenOff, or Interrupted by way of a signal, if it is to end."""
        if time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self._say(stretch.name + (f": {stretch.done}/{stretch.total} {stretch.unit}" if stretch.total else ""))
        found = next((one for one in self._breaks if one.is_at(stretch, over)), None)
        if found is None or self.came is not None:
            return
        self.came = found
        if found.asked:
            signal.raise_signal(signal.SIGINT)
        else:
            raise BrokenOff


@dataclass
class _Heard(Phase):
    listening: Listening
    stretch: Stretch

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.stretch.done += amount
        self.listening.heard(self.stretch)


def interval_of(stretches: Sequence[Stretch]) -> int:
    """Steps between checkpoints for a run that went so: several are written, and steps are left after the last."""
    steps = _training(stretches).done
    return max(1, min(max(3, steps // 3), steps - 1))


def breaks_of(stretches: Sequence[Stretch], every: int) -> list[Break]:
    """Where to break off a run that went so and is saved every so many steps: in each kind of phase before training and
    within it, around a checkpoint, and in what follows training."""
    training = _training(stretches)
    place = stretches.index(training)
    within = [one for one in stretches[place + 1 :] if one.step is not None]
    after = [one for one in stretches[place + 1 :] if one.step is None and one.name != REPORT]
    return [
        *(_halfway(one, "before training") for one in _longest(stretches[:place])),
        *_around_a_checkpoint(training.done, every),
        *(
            _halfway(one, f"after step {one.step}", asked=bool(number % 2))
            for number, one in enumerate(_latest(within, training.done, every))
        ),
        *([_halfway(after[0], "after training")] if after else [Break(TRAIN, 1, None, "when training was over")]),
        AT_REPORT,
    ]


def _around_a_checkpoint(steps: int, every: int) -> Iterator[Break]:
    yield Break(TRAIN, 1, every, f"after step {every}, before it was saved")
    if every < steps:
        yield Break(TRAIN, 1, every + 1, f"after step {every + 1}, when step {every} was saved")
    if every + 1 < steps:
        yield Break(TRAIN, 1, every + 1, f"in step {every + 1}", asked=True)


def _longest(stretches: Sequence[Stretch]) -> Iterator[Stretch]:
    """One of each name."""
    for name in dict.fromkeys(one.name for one in stretches):
        yield max((one for one in stretches if one.name == name), key=lambda one: one.done)


def _latest(stretches: Sequence[Stretch], steps: int, every: int) -> Iterator[Stretch]:
    """One of each name: the latest, and if possible one after a step that is not saved but follows one that is."""

    def suits(one: Stretch) -> tuple[bool, int]:
        assert one.step is not None
        return every < one.step < steps and one.step % every != 0, one.step

    for name in dict.fromkeys(one.name for one in stretches):
        yield max((one for one in stretches if one.name == name), key=suits)


def _halfway(stretch: Stretch, when: str, asked: bool = False) -> Break:
    done = stretch.done // 2
    size = f", at {done} of {stretch.done} {stretch.unit}" if stretch.done else ""
    return Break(stretch.name, stretch.number, done, f"{when}, in '{stretch.name}'{size}", asked)


def _training(stretches: Sequence[Stretch]) -> Stretch:
    return next(one for one in stretches if one.name == TRAIN)
