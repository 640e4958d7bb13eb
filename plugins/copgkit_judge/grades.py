"""From a judge's answer to a grade. What is not plainly a number within the range is a fault, never a guess."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

GRADE = r"(?i)\bgrade[\s:=*]{0,8}(-?\d+(?:\.\d+)?)(?![\d.,e-]*\d)"
"""The number behind the word "grade": `Grade: 7`, `**Grade:** 7/10`. Not 1,000 or 1e3, which it would misread."""

_OBJECTS_TRIED = 100  # braces in an answer that may open its JSON object


class NoGrade(Exception):
    """The answer holds no grade; the message says why."""


@dataclass(frozen=True)
class GradeReader:
    """Reads the grade: the field of a JSON object in the answer, or else the first group of the pattern's last match.

    The last match, because judges reason first and grade last.
    """

    pattern: str
    field: str | None
    low: float
    high: float

    def read(self, answer: str) -> float:
        """The grade, between low and high. Raises NoGrade with the reason."""
        found = self._in_json(answer) if self.field else self._by_pattern(answer)
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            raise NoGrade(f"the grade is {type(found).__name__}, not a number")
        try:
            grade = float(found)
        except (ValueError, OverflowError):
            raise NoGrade(f"the grade {str(found)[:40]!r} is not a number") from None
        if not math.isfinite(grade) or not self.low <= grade <= self.high:
            raise NoGrade(f"the grade {grade:g} is not between {self.low:g} and {self.high:g}")
        return grade

    def _by_pattern(self, answer: str) -> str:
        matches = re.findall(self.pattern, answer)
        if not matches:
            raise NoGrade("nothing in the answer matches `grade`")
        last = matches[-1]
        return str(last if isinstance(last, str) else last[0])

    def _in_json(self, answer: str) -> Any:
        for found in _objects(answer):
            if self.field in found:
                return found[self.field]
        raise NoGrade(f"no JSON object in the answer has the field '{self.field}'")


def check_pattern(pattern: str) -> str:
    """The pattern. Raises ValueError for a pattern that cannot be read or has no group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as fault:
        raise ValueError(f"it is not a regular expression: {fault}.") from None
    if not groups:
        raise ValueError("it has no group. Put the number in brackets, as in 'Grade: ([0-9]+)'.")
    return pattern


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects that stand somewhere in a text, also behind words or in a code fence."""
    decoder = json.JSONDecoder()
    for brace in itertools.islice(re.finditer(r"\{", text), _OBJECTS_TRIED):
        try:
            found, _ = decoder.raw_decode(text, brace.start())
        except (ValueError, RecursionError):
            continue
        yield found
