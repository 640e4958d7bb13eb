"""Bytes as values: `decode(message, Bounds())` gives fresh values of built-in types.

The supervisor decodes what hostile code wrote. Every length is checked against what is left before anything is made, so
that a forged message costs no more memory than its own bytes suggest; sets and dictionaries whose keys collide by
design are refused, because building one takes quadratic time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from .plain import COMPLEX, COUNT, FLOAT, Bounds, Opaque, Plain, PlainException, PlainIterator, WireError

_SAME_HASH = 64  # distinct keys of one hash value; -1 and -2 share one, a power of two shares one with 33 others


def decode(message: bytes, bounds: Bounds, opaque: Callable[[Opaque], Any] | None = None) -> Plain:
    """The value of a message. Raises WireError for anything that `encode` would not have written.

    opaque: what an Opaque or a PlainIterator stands for here; by default it stays what it is.
    """
    if len(message) > bounds.message_bytes:
        raise WireError(f"a message of {len(message)} bytes; {bounds.message_bytes} are allowed")
    reader = _Reader(message, bounds, opaque or (lambda thing: thing))
    value = reader.read(0)
    if reader.place != len(message):
        raise WireError("bytes behind the message's end")
    return value


class _Reader:
    def __init__(self, message: bytes, bounds: Bounds, opaque: Callable[[Opaque], Any]) -> None:
        self.place = 0
        self._message = message
        self._bounds = bounds
        self._opaque = opaque
        self._values = 0

    def read(self, depth: int) -> Any:
        self._values += 1
        if depth > self._bounds.depth or self._values > self._bounds.values:
            raise WireError("nested too deep, or too many values")
        read = _READERS.get(self._message[self.place : self.place + 1])
        if read is None:
            raise WireError("an unknown tag, or a message that ends early")
        self.place += 1
        return read(self, depth)

    def _take(self, length: int) -> bytes:
        end = self.place + length
        if end > len(self._message):
            raise WireError("a message that ends early")
        taken = self._message[self.place : end]
        self.place = end
        return taken

    def _count(self) -> int:
        (count,) = COUNT.unpack(self._take(4))
        if count > len(self._message) - self.place:  # every value takes a byte at least
            raise WireError("a count that exceeds the message")
        return int(count)

    def _read_int(self, depth: int) -> int:
        content = self._take(self._count())
        if not 0 < len(content) <= self._bounds.integer_bytes:
            raise WireError("an integer that is empty or too long")
        return int.from_bytes(content, "big", signed=True)

    def _read_float(self, depth: int) -> float:
        return float(FLOAT.unpack(self._take(8))[0])

    def _read_complex(self, depth: int) -> complex:
        return complex(*COMPLEX.unpack(self._take(16)))

    def _read_str(self, depth: int) -> str:
        try:
            return self._take(self._count()).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise WireError("a text that is not UTF-8") from error

    def _read_bytes(self, depth: int) -> bytes:
        return self._take(self._count())

    def _read_many(self, depth: int) -> list[Any]:
        return [self.read(depth + 1) for _ in range(self._count())]

    def _read_keys(self, depth: int) -> list[Any]:
        return _distinct(self._read_many(depth))

    def _read_dict(self, depth: int) -> dict[Any, Any]:
        pairs = [(self.read(depth + 1), self.read(depth + 1)) for _ in range(self._count())]
        _distinct([key for key, _ in pairs])
        return dict(pairs)

    def _read_exception(self, depth: int) -> PlainException:
        return PlainException(*self._read_pair())

    def _read_opaque(self, depth: int) -> Any:
        name, handle = self._read_pair()
        if not (handle.isascii() and handle.isdigit() and len(handle) < 10):
            raise WireError("a handle that is no number")
        return self._opaque(Opaque(name, int(handle)))

    def _read_iterator(self, depth: int) -> Any:
        return self._opaque(PlainIterator(values=tuple(self._read_many(depth))))

    def _read_pair(self) -> tuple[str, str]:
        if self._take(1) != b"s":
            raise WireError("a name that is no text")
        name = self._read_str(0)
        if self._take(1) != b"s":
            raise WireError("a text that is no text")
        return name, self._read_str(0)


_READERS: dict[bytes, Callable[[_Reader, int], Any]] = {
    b"N": lambda reader, depth: None,
    b"T": lambda reader, depth: True,
    b"F": lambda reader, depth: False,
    b"i": _Reader._read_int,
    b"f": _Reader._read_float,
    b"c": _Reader._read_complex,
    b"s": _Reader._read_str,
    b"b": _Reader._read_bytes,
    b"l": _Reader._read_many,
    b"t": lambda reader, depth: tuple(reader._read_many(depth)),
    b"S": lambda reader, depth: set(reader._read_keys(depth)),
    b"Z": lambda reader, depth: frozenset(reader._read_keys(depth)),
    b"d": _Reader._read_dict,
    b"E": _Reader._read_exception,
    b"I": _Reader._read_iterator,
    b"O": _Reader._read_opaque,
}


def _distinct(keys: list[Any]) -> list[Any]:
    """The keys, checked: hashable, of hashes that differ, none twice. Only then may a set be built of them."""
    try:
        if len(keys) > _SAME_HASH and max(Counter(map(hash, keys)).values()) > _SAME_HASH:
            raise WireError("keys that collide")
        if len(set(keys)) != len(keys):
            raise WireError("a key twice")
    except TypeError as error:
        raise WireError("a key that cannot be one") from error
    return keys
