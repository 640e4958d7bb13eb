"""Values as bytes: `encode([1, {"a": 2.5}], Bounds())`.

Runs on both sides. Inside a sandbox the values are hostile, so that a value of a subclass is read by the methods of its
built-in base and travels as that base: an integer whose `==` always holds arrives as the integer it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .plain import (
    COMPLEX,
    COUNT,
    FLOAT,
    Bounds,
    Opaque,
    Plain,
    PlainException,
    PlainIterator,
    WireError,
    builtin_name,
    exception_text,
)


def encode(value: Plain, bounds: Bounds, opaque: Callable[[Any], Opaque] | None = None) -> bytes:
    """The message for a value. Raises WireError if it exceeds the bounds.

    opaque: names a value that is not plain; by default it gets no handle.
    """
    writer = _Writer(bounds, opaque or (lambda thing: Opaque(type(thing).__name__)))
    writer.write(value, 0)
    return bytes(writer.out)


class _Writer:
    def __init__(self, bounds: Bounds, opaque: Callable[[Any], Opaque]) -> None:
        self.out = bytearray()
        self._bounds = bounds
        self._opaque = opaque
        self._values = 0

    def write(self, value: Any, depth: int) -> None:
        self._values += 1
        if depth > self._bounds.depth:
            raise WireError(f"nested deeper than {self._bounds.depth}")
        if self._values > self._bounds.values:
            raise WireError(f"more than {self._bounds.values} values")
        write = _WRITERS.get(type(value)) or next(
            (_WRITERS[cls] for cls in type(value).__mro__ if cls in _WRITERS), None
        )
        if write is None:
            self._write_opaque(self._opaque(value))
        else:
            write(self, value, depth)
        if len(self.out) > self._bounds.message_bytes:
            raise WireError(f"more than {self._bounds.message_bytes} bytes")

    def _write_none(self, value: None, depth: int) -> None:
        self.out += b"N"

    def _write_bool(self, value: bool, depth: int) -> None:
        self.out += b"T" if value else b"F"

    def _write_int(self, value: int, depth: int) -> None:
        length = (int.bit_length(value) + 8) // 8
        if length > self._bounds.integer_bytes:
            raise WireError(f"an integer of more than {self._bounds.integer_bytes} bytes")
        self._write_bytes_as(b"i", int.to_bytes(value, length, "big", signed=True))

    def _write_float(self, value: float, depth: int) -> None:
        self.out += b"f" + FLOAT.pack(float.__float__(value))

    def _write_complex(self, value: complex, depth: int) -> None:
        plain = complex.__complex__(value)
        self.out += b"c" + COMPLEX.pack(plain.real, plain.imag)

    def _write_str(self, value: str, depth: int) -> None:
        self._write_bytes_as(b"s", str.encode(value, "utf-8", "surrogatepass"))

    def _write_bytes(self, value: bytes, depth: int) -> None:
        self._write_bytes_as(b"b", bytes.join(b"", [value]))

    def _write_list(self, value: list[Any], depth: int) -> None:
        self._write_many(b"l", list.__len__(value), list.__iter__(value), depth)

    def _write_tuple(self, value: tuple[Any, ...], depth: int) -> None:
        self._write_many(b"t", tuple.__len__(value), tuple.__iter__(value), depth)

    def _write_set(self, value: set[Any], depth: int) -> None:
        self._write_many(b"S", set.__len__(value), set.__iter__(value), depth)

    def _write_frozenset(self, value: frozenset[Any], depth: int) -> None:
        self._write_many(b"Z", frozenset.__len__(value), frozenset.__iter__(value), depth)

    def _write_dict(self, value: dict[Any, Any], depth: int) -> None:
        flat = [part for pair in dict.items(value) for part in pair]
        self._write_many(b"d", dict.__len__(value), flat, depth)

    def _write_exception(self, value: BaseException, depth: int) -> None:
        self._write_pair(b"E", builtin_name(type(value)), exception_text(value))

    def _write_plain_exception(self, value: PlainException, depth: int) -> None:
        self._write_pair(b"E", value.name, value.text)

    def _write_opaque(self, value: Opaque, depth: int = 0) -> None:
        self._write_pair(b"O", value.type_name, str(value.handle))

    def _write_iterator(self, value: PlainIterator, depth: int) -> None:
        self._write_many(b"I", len(value.values), value.values, depth)

    def _write_bytes_as(self, tag: bytes, content: bytes) -> None:
        if len(content) > self._bounds.message_bytes:
            raise WireError(f"more than {self._bounds.message_bytes} bytes")
        self.out += tag + COUNT.pack(len(content)) + content

    def _write_many(self, tag: bytes, count: int, parts: Any, depth: int) -> None:
        self.out += tag + COUNT.pack(count)
        for part in parts:
            self.write(part, depth + 1)

    def _write_pair(self, tag: bytes, name: str, text: str) -> None:
        self.out += tag
        self._write_str(name[:200], 0)
        self._write_str(text[:4000], 0)


_WRITERS: dict[type, Callable[[_Writer, Any, int], None]] = {
    type(None): _Writer._write_none,
    bool: _Writer._write_bool,
    int: _Writer._write_int,
    float: _Writer._write_float,
    complex: _Writer._write_complex,
    str: _Writer._write_str,
    bytes: _Writer._write_bytes,
    list: _Writer._write_list,
    tuple: _Writer._write_tuple,
    set: _Writer._write_set,
    frozenset: _Writer._write_frozenset,
    dict: _Writer._write_dict,
    BaseException: _Writer._write_exception,
    PlainException: _Writer._write_plain_exception,
    PlainIterator: _Writer._write_iterator,
    Opaque: _Writer._write_opaque,
}
