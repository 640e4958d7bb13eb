"""The role "tests": holds test text and expected values, and a stand-in for every function under test.

    {"do": "check", "source": str, "entry_point": str, "names": [str, ...]}
        -> {"passed": True} | {"passed": False, "raised", "type", "text"}

The source runs as a module in which `entry_point` (and each of `names`) is a stand-in. While it runs, a call of a
stand-in goes up as {"ask": "call", "name", "args", "kwargs"}, and what is done with an object of the candidate's as
the same with "operate"; the supervisor has it answered by a candidate and sends that reply down.
Changes the candidate made to its arguments are made to the caller's, in place.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .foreign import Foreign, handle_of
from .framing import Channel
from .outcome import attempt, new_module, run_source
from .plain import Opaque, Plain, PlainIterator, plain_iterator


class Examiner:
    """Answers the requests of one execution."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._foreigners: dict[tuple[int, bool], Foreign] = {}

    def serve(self) -> None:
        """Check until the supervisor hangs up."""
        while True:
            self._channel.send(self._check(self._channel.receive()))

    def _check(self, message: Plain) -> Plain:
        module = new_module("tests")
        for name in [message["entry_point"], *message.get("names", [])]:
            setattr(module, name, self._stand_in(name))
        _, failure = attempt(lambda: run_source(message["source"], module))
        return {"passed": False, **failure} if failure else {"passed": True}

    def _stand_in(self, name: str) -> Callable[..., Any]:
        makes = name[:1].isupper()  # a class: what a call of it returns is an object that the tests wanted

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            return self._ask({"ask": "call", "name": name, "args": list(args), "kwargs": kwargs}, makes)

        stand_in.__name__ = name
        return stand_in

    def _operate(self, operation: str, args: list[Any]) -> Any:
        return self._ask({"ask": "operate", "name": operation, "args": args, "kwargs": {}}, False)

    def _ask(self, request: Plain, makes: bool) -> Any:
        sent = {**request, "args": [plain_iterator(value) for value in request["args"]]}
        self._channel.send(sent, lambda thing: Opaque(type(thing).__name__, handle_of(thing)))
        answer = self._channel.receive(lambda opaque: self._foreign(opaque, makes))
        _write_back(request["args"], answer.get("args") or ())
        _write_back(request["kwargs"], answer.get("kwargs") or {})
        if "raised" in answer:
            raise _exception(answer["raised"], answer.get("text", ""))
        return answer["value"]

    def _foreign(self, opaque: Opaque, made: bool) -> Any:
        """The one object here that stands for one there; a nameless one stays a mere `Opaque`."""
        if isinstance(opaque, PlainIterator):
            return iter(opaque.values)
        if not opaque.handle:
            return opaque
        known = (opaque.handle, made)
        if known not in self._foreigners:
            self._foreigners[known] = Foreign(opaque.handle, made, self._operate)
        return self._foreigners[known]


def _exception(name: str, text: str) -> BaseException:
    """A built-in exception of this name. One that takes other arguments than a text becomes an Exception.

    StopIteration becomes a RuntimeError, as it does in a generator: it would end `all(map(f, cases))` as if all were
    true.
    """
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        return Exception(text)
    if issubclass(kind, StopIteration | StopAsyncIteration):
        return RuntimeError(f"the call raised {name}")
    try:
        return kind(text)
    except TypeError:
        return Exception(f"{name}: {text}")


def _write_back(before: Any, after: Any) -> None:
    """Make containers of plain data what they are after the call, as deep as their shape allows."""
    if isinstance(before, list) and isinstance(after, list):
        _write_back_sequence(before, after)
        before[:] = [_same_or(old, new) for old, new in zip(before, after, strict=False)] + after[len(before) :]
    elif isinstance(before, tuple) and isinstance(after, Sequence):
        _write_back_sequence(before, after)
    elif isinstance(before, dict) and isinstance(after, Mapping):
        _write_back_mapping(before, after)
    elif isinstance(before, set) and isinstance(after, set):
        before.clear()
        before.update(after)


def _write_back_sequence(before: Sequence[Any], after: Sequence[Any]) -> None:
    for old, new in zip(before, after, strict=False):
        _write_back(old, new)


def _write_back_mapping(before: dict[Any, Any], after: Mapping[Any, Any]) -> None:
    for key in before.keys() & after.keys():
        _write_back(before[key], after[key])
    kept = {key: _same_or(before[key], new) if key in before else new for key, new in after.items()}
    before.clear()
    before.update(kept)


def _same_or(old: Any, new: Any) -> Any:
    """The caller's own object where it holds the new value already or was never plain; else the new value."""
    changed_in_place = type(old) is type(new) and isinstance(old, list | dict | set)
    came_back_as_it_went = isinstance(new, Opaque) and new.handle == 0
    same_tuple = isinstance(old, tuple) and isinstance(new, tuple) and old == new
    same_object = handle_of(old) != 0 and handle_of(old) == handle_of(new)
    return old if changed_in_place or came_back_as_it_went or same_tuple or same_object else new
