"""Giving children a memory in which what they need lies together, so that few pages are copied for them."""

from __future__ import annotations

import sys

_SIZES = range(48, 513, 16)  # of the objects that the interpreter keeps in pools, from the smallest bytes there are
_MOST = 3000  # objects of one size: where pools are made otherwise, it ends here
_ROW = 4


def filled_holes() -> list[bytes]:
    """Objects in the places that starting up has left free here and there. While they are kept, new ones lie in a row.

    A child that fills such a hole has the page around it copied, and mostly another for each object.
    """
    return [filling for size in _SIZES for filling in _fill(size)]


def _fill(size: int) -> list[bytes]:
    """Objects of one size, as many as it takes until they come to lie one behind the other."""
    made: list[bytes] = []
    row = 0
    while row < _ROW and len(made) < _MOST:
        made.append(bytes(size - sys.getsizeof(b"")))
        row = row + 1 if len(made) > 1 and id(made[-1]) - id(made[-2]) == size else 0
    return made
