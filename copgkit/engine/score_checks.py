"""The door for scores: what a reward source may return, and the words for everything else.

One finite Score per completion, in order. Nothing is broadcast, cut or guessed: a list of the wrong length, a dict,
text or a bool stops the run and names source, row and completion. NaN and infinity do so too, or are failures of their
completion where the recipe leaves failures out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from copgkit.errors import RewardError
from copgkit.redaction import redacted
from copgkit.types import Completion, Group, Score


class Misshapen(RewardError):
    """What a source returned is not one score for each completion, so that none of it can be trusted."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is asked about at once: a single completion, as a group of one, or a whole group.

    number: of its first completion within the group it belongs to, from 1.
    """

    group: Group
    number: int = 1

    def place(self, label: str, index: int) -> str:
        """How messages name one of its completions."""
        group = self.group
        quoted = quote(group.completions[index])
        return f"reward source '{label}', {group.prompt.place}, completion {self.number + index} {quoted}"


def listed(label: str, given: Any) -> list[Any]:
    """What a source returned as a list. Raises Misshapen for what has no order, and for what is no list at all."""
    if not isinstance(given, Iterable) or isinstance(given, Mapping | Set | str | bytes):
        raise Misshapen(
            f"reward source '{label}' returned {type(given).__name__} {_short(given)}, not a list of scores."
            " One score per completion, in order."
        )
    return list(given)


def checked(
    label: str, units: Sequence[Unit], rows: Sequence[Sequence[Any]], spares_others: bool = False
) -> list[list[Score]]:
    """The scores of each unit, with plain numbers and notes. Raises Misshapen for anything but what is promised.

    spares_others: a number that is not finite is a failure of its completion; without it, a RewardError.
    """
    if len(rows) != len(units):
        raise Misshapen(f"reward source '{label}' returned scores of {len(rows)} groups for {len(units)}.")
    return [_row(label, unit, row, spares_others) for unit, row in zip(units, rows, strict=True)]


def quote(completion: Completion) -> str:
    """The beginning of a completion, for messages."""
    return _short(completion.text.strip())


def _row(label: str, unit: Unit, row: Sequence[Any], spares_others: bool) -> list[Score]:
    row, wanted = listed(label, row), len(unit.group.completions)
    if len(row) != wanted:
        raise Misshapen(
            f"reward source '{label}' returned {len(row)} scores for {wanted} completions of"
            f" {unit.group.prompt.place}. One score per completion, in order."
        )
    return [_score(unit, label, index, score, spares_others) for index, score in enumerate(row)]


def _score(unit: Unit, label: str, index: int, score: Any, spares_others: bool) -> Score:
    remedy = "Give a finite number, Score.abstain() or Score.failed(reason)"
    if fault := _fault_of_form(score):
        raise Misshapen(f"{unit.place(label, index)}: {fault}. {remedy}.")
    if fault := _fault_of_value(score.value):
        if spares_others:
            return Score.failed(fault)
        raise RewardError(f"{unit.place(label, index)}: {fault}. {remedy}.")
    return _plain(score)


def _fault_of_form(score: object) -> str | None:
    if not isinstance(score, Score):
        return f"returned {type(score).__name__} instead of a Score"
    if not isinstance(score.notes, Mapping):
        return f"the score's notes are {type(score.notes).__name__}, not a mapping"
    if score.value is not None and (isinstance(score.value, bool) or not isinstance(score.value, Real)):
        return f"the score's value is {type(score.value).__name__} {_short(score.value)}, not a number"
    return None


def _fault_of_value(value: float | None) -> str | None:
    try:
        return None if value is None or math.isfinite(value) else f"the score is {value}"
    except OverflowError:  # a whole number that no float can hold
        return "the score is larger than any float"


def _plain(score: Score) -> Score:
    """The same score in plain Python numbers and text, as it is written to disk and read back."""
    if not score.notes and score.failure is None:
        return score if type(score.value) is float or score.value is None else replace(score, value=float(score.value))
    value = None if score.value is None else float(score.value)
    failure = None if score.failure is None else redacted(str(score.failure))
    return Score(value, {str(name): _note(note) for name, note in score.notes.items()}, failure)


def _note(note: Any) -> float | str:
    if isinstance(note, int | str):
        return note
    return float(note) if isinstance(note, Real) else str(note)


def _short(value: Any) -> str:
    shown = value if isinstance(value, str) else str(value)
    return repr(shown if len(shown) <= 60 else shown[:57] + "...")
