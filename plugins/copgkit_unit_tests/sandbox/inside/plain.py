"""The only language spoken between a sandbox and the process that supervises it: plain data, within bounds.

Plain are None, bool, int, float, complex, str, bytes, list, tuple, dict, set and frozenset of plain values, exceptions
by name, and `Opaque` for everything else. `encoding` writes such values as bytes and `decoding` reads them; nothing is
ever executed by either (no pickle). One tag byte, then the value; lengths and counts are four bytes, big-endian.
"""

from __future__ import annotations

import builtins
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

COUNT = struct.Struct(">I")
FLOAT = struct.Struct(">d")
COMPLEX = struct.Struct(">dd")
_LONGEST_ITERATOR = 100_000


class WireError(ValueError):
    """A value that is not plain within the bounds, or bytes that are no message."""


@dataclass(frozen=True)
class Bounds:
    """What one message may be at most."""

    message_bytes: int = 1 << 20
    depth: int = 64
    values: int = 200_000
    integer_bytes: int = 2048  # about 4,900 decimal digits


@dataclass(frozen=True, eq=False)
class Opaque:
    """Stands for a value that is not plain data: the name of its type, and a number its own process knows it by."""

    type_name: str
    handle: int = 0

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True)
class PlainException:
    """An exception as a value: the name of its nearest built-in class, and its text."""

    name: str
    text: str


@dataclass(frozen=True, eq=False)
class PlainIterator(Opaque):
    """What an iterator would have given. Equals nothing, as the iterator would; `plain_iterator` makes one."""

    type_name: str = "iterator"
    handle: int = 0
    values: tuple[Any, ...] = ()


def plain_iterator(value: Any) -> Any:
    """An iterator, used up, as something that can be sent; any other value as it is."""
    if isinstance(value, Iterator) and not isinstance(value, Opaque):
        return PlainIterator(values=tuple(islice(value, _LONGEST_ITERATOR)))
    return value


# None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, PlainException, PlainIterator, Opaque
Plain = Any


def builtin_name(kind: type[BaseException]) -> str:
    """The nearest class in the inheritance of an exception class that is built in."""
    return next((cls.__name__ for cls in kind.__mro__ if getattr(builtins, cls.__name__, None) is cls), "Exception")


def exception_text(error: BaseException) -> str:
    """What an exception says, or nothing if saying it fails."""
    try:
        return str(error)[:4000]
    except BaseException:  # the text is made by hostile code
        return ""
