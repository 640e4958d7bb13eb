"""An object of the candidate as the tests hold it: a number, and what may be done with it on the other side.

It equals nothing but itself and has no order, so that a candidate never decides a comparison. A result, where plain
data may have been expected, can be called, handed back, asked for attributes, and gives its items and its text once and
for all. Nothing else: operators, and attributes that plain data has, would tell the candidate what it ought to have
answered (`abs(f(x) - 2.5) < 0.1`, `f(x).startswith("yes")`), and a number or a length could be another each time it is
asked for. An object that the tests made themselves, by calling a class of the candidate (`Stack()`), is what it is
there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

_ALONE = ("reversed", "int", "float", "complex", "index", "neg", "pos", "invert", "abs")
_OWN = ("iter", "len", "contains", "enter", "exit")
_ITEMS = ("getitem", "setitem", "delitem")
_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
_OF_PLAIN = {name for kind in (str, bytes, int, float, complex, list, tuple, dict, set) for name in dir(kind)}


def _special(name: str) -> Callable[..., Any]:
    """A special method of the object's class; a TypeError, as from Python itself, where there is none."""

    def operation(thing: Any, *operands: Any) -> Any:
        method = getattr(type(thing), f"__{name}__", None)
        if method is None:
            raise TypeError(f"{type(thing).__name__!r} object has no {name}")
        return method(thing, *operands)

    return operation


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda thing, args, kwargs: thing(*args, **kwargs),
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "bool": operator.truth,
    "str": str,
    "repr": repr,
    **{name: _special(name) for name in (*_OWN, *_ALONE, *_ITEMS, *_OPERATORS)},
}
"""What may be done with an object, by name; the candidate's process does it."""


class Foreign:
    """An object that lives in the candidate's process."""

    def __init__(self, handle: int, made: bool, ask: Callable[[str, list[Any]], Any]) -> None:
        """made: the tests made it by calling a class. ask: has an operation performed."""
        vars(self).update(_handle=handle, _made=made, _ask=ask, _given={})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("call", [self, list(args), kwargs])

    def __getattr__(self, name: str) -> Any:
        self._refuse_plain(name)
        return self._ask("getattr", [self, name])

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_plain(name)
        self._ask("setattr", [self, name, value])

    def __delattr__(self, name: str) -> None:
        self._refuse_plain(name)
        self._ask("delattr", [self, name])

    def __bool__(self) -> bool:
        return self._ask("bool", [self]) is True if self._made else True

    def __str__(self) -> str:
        return str(self._once("str"))

    def __repr__(self) -> str:
        return str(self._once("repr"))

    def __iter__(self) -> Any:
        return self._ask("iter", [self]) if self._made else iter(self._items())

    def __len__(self) -> int:
        return self._ask("len", [self]) if self._made else len(self._items())

    def __contains__(self, item: Any) -> bool:
        return self._ask("contains", [self, item]) is True if self._made else item in self._items()

    def __enter__(self) -> Any:
        return self._ask("enter", [self])

    def __exit__(self, *_: object) -> None:
        self._ask("exit", [self, None, None, None])  # the candidate neither sees nor stops the failure of a test

    def _once(self, operation: str) -> Any:
        """What the operation gave the first time, for a result; what it gives now, for an object the tests made."""
        if self._made or operation not in self._given:
            self._given[operation] = self._ask(operation, [self])
        return self._given[operation]

    def _items(self) -> list[Any]:
        if "items" not in self._given:
            self._given["items"] = list(self._ask("iter", [self]))
        items: list[Any] = self._given["items"]
        return items

    def _refuse_plain(self, name: str) -> None:
        if not self._made and name in _OF_PLAIN:
            raise AttributeError(f"an object of the candidate has no '{name}' here: it would learn what it is asked")


def _alone(name: str) -> Callable[..., Any]:
    def method(self: Foreign) -> Any:
        if not self._made:
            raise TypeError("an object of the candidate is no number here: it could be another each time")
        return self._ask(name, [self])

    return method


def _item(name: str) -> Callable[..., Any]:
    def method(self: Foreign, *operands: Any) -> Any:
        if not self._made:
            raise TypeError("an object of the candidate has no items here: it would learn what it is asked")
        return self._ask(name, [self, *operands])

    return method


def _operator(name: str) -> Callable[..., Any]:
    return lambda self, other: self._ask(name, [self, other]) if self._made else NotImplemented


for _names, _method in ((_ALONE, _alone), (_ITEMS, _item), (_OPERATORS, _operator)):
    for _name in _names:
        setattr(Foreign, f"__{_name}__", _method(_name))


def handle_of(thing: Any) -> int:
    """The number of an object of the candidate's; 0 for anything else."""
    return int(vars(thing)["_handle"]) if type(thing) is Foreign else 0
