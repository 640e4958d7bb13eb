"""The program under test as copgkit's process sees it: a sandbox that is asked, and whose answers are only claims.

Everything that comes from there may be forged, so that each answer is taken apart into a value or the name of a
built-in exception before anybody looks at it. Whatever is no answer is the program's fault.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from copgkit_unit_tests.sandbox import SandboxGone, Session, WireError

_REJECTIONS = {"exited": "crash", "killed": "crash", "protocol": "crash"}
_COMPILE_FAULTS = ("SyntaxError", "IndentationError", "TabError")


class Rejected(Exception):
    """The program got no further by its own fault, whose name this is: "timeout", "crash", "does-not-compile", ..."""


class Raised(Exception):
    """The program raised while it was loaded; the name of the exception."""


@dataclass(frozen=True)
class Answer:
    """What a call came to. raised: the nearest built-in exception, empty if it returned. after: the arguments as the
    call left them, where that is known."""

    value: Any = None
    raised: str = ""
    text: str = ""
    args: Any = None
    kwargs: Any = None

    def as_message(self) -> dict[str, Any]:
        """The answer as the tests' side reads it."""
        after = {"args": self.args, "kwargs": self.kwargs}
        return after | ({"raised": self.raised, "text": self.text} if self.raised else {"value": self.value})


@dataclass(frozen=True)
class Candidate:
    """A program in its sandbox."""

    session: Session

    def load(self, source: str) -> None:
        """Runs the program as a module called `candidate`. Raises Rejected or Raised."""
        answer = self._ask({"do": "load", "source": source, "name": "candidate"})
        if answer.raised in _COMPILE_FAULTS:
            raise Rejected("does-not-compile")
        if answer.raised:
            raise Raised(answer.raised)

    def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Answer:
        """Calls one of its functions. Raises Rejected."""
        return self._ask({"do": "call", "name": name, "args": args, "kwargs": kwargs})

    def operate(self, operation: str, args: list[Any]) -> Answer:
        """Does something with an object that it holds. Raises Rejected."""
        return self._ask({"do": "operate", "name": operation, "args": args, "kwargs": {}})

    def run(self, source: str, stdin: str) -> tuple[str, int]:
        """Runs the program as a script: its standard output and exit status. Raises Rejected."""
        compiled = self._ask({"do": "load", "source": f"compile({source!r}, 'program', 'exec')", "name": "compiling"})
        if compiled.raised:
            raise Rejected("does-not-compile")
        with _its_own_fault():
            self.session.send({"do": "program", "source": source, "stdin": stdin})
            reply = self.session.receive()
            return reply["stdout"], reply["status"]

    def _ask(self, request: dict[str, Any]) -> Answer:
        with _its_own_fault():
            self.session.send(request)
            return _answer_of(self.session.receive())


@contextmanager
def _its_own_fault() -> Iterator[None]:
    """Turns an end that the program brought about into Rejected; any other end stays what it is."""
    try:
        yield
    except SandboxGone as gone:
        if not gone.is_the_codes_fault:
            raise
        raise Rejected(_REJECTIONS.get(gone.kind, gone.kind)) from gone
    except WireError as error:
        raise Rejected("too-long") from error


def _answer_of(reply: Any) -> Answer:
    """A reply as an answer. Raises Rejected for what is none."""
    if type(reply) is not dict:
        raise Rejected("crash")
    after = reply.get("args"), reply.get("kwargs")
    if "raised" not in reply:
        return Answer(reply.get("value"), "", "", *after)
    return Answer(None, _exception_name(reply["raised"]), str(reply.get("text", ""))[:1000], *after)


def _exception_name(claimed: Any) -> str:
    kind = getattr(builtins, claimed, None) if isinstance(claimed, str) else None
    return claimed if isinstance(kind, type) and issubclass(kind, BaseException) else "Exception"
