"""What counts as a number, and how messages name a completion."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from copgkit import Completion


def finite_number(value: Any) -> float | None:
    """The value as a float: numbers, true and false as 1 and 0, and what numpy and torch make of either; None for
    anything else, NaN and infinity included."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def named(completion: Completion) -> str:
    """The row that a completion belongs to, and its first words."""
    text = completion.text if len(completion.text) <= 60 else completion.text[:57] + "..."
    return f"{completion.prompt.place}, completion {text!r}"
