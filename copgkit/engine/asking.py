"""Asking one reward source, and no more than is needed: what the score store holds is not asked again.

Every call's answers are checked and kept before the next call, so that a killed run goes on where it was. A call holds
a few seconds' worth of completions: little is lost with it, and a quick source still gets big batches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from copgkit import interrupts
from copgkit.components import RewardSource
from copgkit.engine.calling import Caller
from copgkit.engine.pace import Pace
from copgkit.engine.score_checks import Unit
from copgkit.progress import Progress
from copgkit.types import Group, Score

Slot = bytes | int


class Shelf(Protocol):
    """The part of a score store that belongs to one source. A group is a single completion or what it says."""

    def keys(self, groups: Sequence[Group]) -> Sequence[bytes | None]:
        """One key per group; None for one that cannot be named by its content and is asked about every time."""
        ...

    def find(self, keys: Sequence[bytes]) -> Mapping[bytes, Sequence[Score]]:
        """The scores of those that are there."""
        ...

    def keep(self, scores: Mapping[bytes, Sequence[Score]]) -> None:
        """Writes scores, all or none of them; they are safe when it returns."""
        ...


@dataclass
class Asker:
    """One source with its shelf, if it has one.

    timeout_seconds: how long one call may take; None waits for ever. spares_others: what fails for one completion is a
    failure of its score. spared and asked: scores that needed no call, and scores that did, since the run began.
    """

    label: str
    source: RewardSource
    shelf: Shelf | None
    progress: Progress
    timeout_seconds: float | None = None
    spares_others: bool = False
    spared: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self._by_group = type(self.source).score_groups is not RewardSource.score_groups
        self._caller = Caller(
            self.label, self.source, self._by_group, self.timeout_seconds, self.spares_others, self.progress.message
        )
        self._pace = Pace()
        self._taken = (0, 0)

    @property
    def hangs(self) -> bool:
        """A call was over its time, and may still be at work."""
        return self._caller.hangs

    def ask(self, groups: Sequence[Group]) -> list[Sequence[Score]]:
        """K scores for each group, in order; from the shelf where it has them."""
        answers = self._answers(self._units(groups))
        if self._by_group:
            return answers
        each = iter(answers)
        return [[next(each)[0] for _ in group.completions] for group in groups]

    def missing(self, groups: Sequence[Group]) -> int:
        """How many scores of these groups the source would be asked for now."""
        _, _, missing = self._look_up(self._units(groups))
        return sum(len(unit.group.completions) for unit in missing.values())

    def take_figures(self) -> dict[str, float]:
        """Scores from the store and scores asked for since this was last called; nothing for a source without shelf."""
        hits, asked = self.spared - self._taken[0], self.asked - self._taken[1]
        self._taken = (self.spared, self.asked)
        if self.shelf is None or not (hits or asked):
            return {}
        return {f"reward/{self.label}/store-hits": hits, f"reward/{self.label}/store-misses": asked}

    def _units(self, groups: Sequence[Group]) -> list[Unit]:
        """What the source is asked about, each as it sees it: whole groups or single completions."""
        shown = map(self._shown, groups)
        if self._by_group:
            return [Unit(group) for group in shown]
        return [
            Unit(Group(group.prompt, (completion,)), number)
            for group in shown
            for number, completion in enumerate(group.completions, start=1)
        ]

    def _look_up(self, units: Sequence[Unit]) -> tuple[dict[Slot, Sequence[Score]], list[Slot], dict[Slot, Unit]]:
        """The answers that the shelf has, the slot of each unit in them, and the units that are missing by slot.

        Units of the same content share a slot; one without a key has its position for it.
        """
        slots: list[Slot] = list(range(len(units)))
        answers: dict[Slot, Sequence[Score]] = {}
        if self.shelf:
            keys = self.shelf.keys([unit.group for unit in units])
            slots = [position if key is None else key for position, key in enumerate(keys)]
            answers.update(self.shelf.find([key for key in keys if key is not None]).items())
        missing = {slot: unit for slot, unit in zip(slots, units, strict=True) if slot not in answers}
        return answers, slots, missing

    def _answers(self, units: Sequence[Unit]) -> list[Sequence[Score]]:
        answers, slots, missing = self._look_up(units)
        scores = sum(len(unit.group.completions) for unit in units)
        asked = sum(len(unit.group.completions) for unit in missing.values())
        self.asked, self.spared = self.asked + asked, self.spared + scores - asked
        if asked < scores:
            self.progress.message(f"score with {self.label}: {scores - asked} of {scores} are in the score store")
        if missing:
            answers.update(self._ask_about(missing))
        return [answers[slot] for slot in slots]

    def _ask_about(self, missing: Mapping[Slot, Unit]) -> Iterator[tuple[Slot, Sequence[Score]]]:
        unit = "groups" if self._by_group else "completions"
        with self.progress.phase(f"score with {self.label}", total=len(missing), unit=unit) as phase:
            slots, start = list(missing), 0
            while start < len(slots):
                interrupts.leave_if_asked()  # a source's own code may have swallowed the exception
                chunk = slots[start : start + self._units_per_call(missing[slots[start]])]
                scores = self._timed_call([missing[slot] for slot in chunk])
                if self.shelf:
                    self.shelf.keep(
                        {
                            slot: row
                            for slot, row in zip(chunk, scores, strict=True)
                            if isinstance(slot, bytes) and all(score.failure is None for score in row)
                        }
                    )
                yield from zip(chunk, scores, strict=True)
                phase.advance(len(chunk))
                start += len(chunk)

    def _units_per_call(self, first: Unit) -> int:
        return max(1, (self.source.completions_per_call or self._pace.size) // len(first.group.completions))

    def _timed_call(self, units: Sequence[Unit]) -> list[list[Score]]:
        began = time.monotonic()
        scores = self._caller.scores(units)
        self._pace.took(sum(map(len, scores)), time.monotonic() - began)
        return scores

    def _shown(self, group: Group) -> Group:
        """The group as the source sees it: without what its stored scores are not keyed by."""
        if self.source.reads_recorded_scores or not any(one.recorded_scores for one in group.completions):
            return group
        return replace(group, completions=tuple(replace(one, recorded_scores={}) for one in group.completions))
