"""Whether what a program gave is what was expected: plain data type by type, and whole outputs.

What a program gave has come out of a sandbox as plain data, so that no comparison here can run code of its making.
Anything that is not plain data equals nothing. Limits: a list and a tuple with the same items are the same, because
data from JSON knows no tuples; True is not 1, and 2.0 is 2.
"""

from __future__ import annotations

import math
from typing import Any

_SEQUENCES = (list, tuple)
_SETS = (set, frozenset)
_EXACT = (str, bytes, bool, type(None))


def same(expected: Any, given: Any, tolerance: float = 0.0) -> bool:
    """True if both are the same plain data.

    tolerance: relative beyond 1 and absolute below; applies where the expected number is a finite float.
    """
    if type(expected) in _EXACT or type(given) in _EXACT:
        return type(expected) is type(given) and bool(expected == given)
    if type(expected) in _SEQUENCES:
        return type(given) in _SEQUENCES and _same_items(expected, given, tolerance)
    if type(expected) is dict:
        return type(given) is dict and _same_dicts(expected, given, tolerance)
    if type(expected) in _SETS:
        return type(given) in _SETS and _typed(expected) == _typed(given)
    return _same_numbers(expected, given, tolerance)


def same_output(expected: str, given: str) -> bool:
    """True if two whole outputs of programs agree but for white space at line ends and empty lines at the end."""
    return _lines(expected) == _lines(given)


def _same_items(expected: Any, given: Any, tolerance: float) -> bool:
    return len(expected) == len(given) and all(
        same(one, other, tolerance) for one, other in zip(expected, given, strict=True)
    )


def _same_dicts(expected: dict[Any, Any], given: dict[Any, Any], tolerance: float) -> bool:
    if len(expected) != len(given) or _typed(expected) != _typed(given):
        return False
    return all(same(value, given[key], tolerance) for key, value in expected.items())


def _typed(members: Any) -> set[Any]:
    """Members of a set with their types, since True and 1 are the same to a set."""
    return {(type(member), member) for member in members}


def _same_numbers(expected: Any, given: Any, tolerance: float) -> bool:
    numbers = (int, float, complex)
    if type(expected) not in numbers or type(given) not in numbers:
        return False
    if type(expected) is float and type(given) is not complex and math.isnan(expected):
        return type(given) is float and math.isnan(given)
    return bool(expected == given) or _near(expected, given, tolerance)


def _near(expected: Any, given: Any, tolerance: float) -> bool:
    """Finite floats within the tolerance; a whole number is as good as a float where a float is expected."""
    if type(expected) is not float or type(given) not in (int, float) or not math.isfinite(expected):
        return False
    try:
        given = float(given)
    except OverflowError:
        return False
    return math.isfinite(given) and abs(expected - given) <= tolerance * max(1.0, abs(expected))


def _lines(output: str) -> list[str]:
    lines = [line.rstrip() for line in output.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
