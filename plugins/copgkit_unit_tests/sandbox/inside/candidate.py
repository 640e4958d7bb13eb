"""The role "candidate": holds a completion's code and answers calls of its functions. It never sees a test.

    {"do": "load", "source": str, "name": str}                -> {"loaded": True} | raised
    {"do": "call", "name": str, "args": list, "kwargs": dict} -> {"value", "args", "kwargs"} | raised
    {"do": "operate", "name": str, "args": list}              -> the same; names of operations are those in `foreign.py`
    {"do": "program", "source": str, "stdin": str}            -> raw standard output until the process ends

`raised` is {"raised": built-in class, "type": own class, "text": str}; after a call it also carries "args" and
"kwargs". They are the arguments as the call left them, so that the caller sees what was changed in place; None if they
are no longer plain.
An iterator travels as what it gives. What else is not plain is kept here and travels as a numbered `Opaque`; sent back
as an argument, it is the same object.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any, NoReturn

from .foreign import OPERATIONS
from .framing import Channel
from .outcome import attempt, new_module, run_source
from .plain import Opaque, Plain, PlainIterator, WireError, plain_iterator


class Candidate:
    """Answers the requests of one execution."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._module = new_module("candidate")
        self._kept: list[Any] = []
        self._numbers: dict[int, int] = {}  # by id(), which nothing else can have while the object is kept

    def serve(self) -> None:
        """Answer until the supervisor hangs up."""
        while True:
            message = self._channel.receive(self._found)
            if message["do"] == "program":
                _become_program(self._channel, message["source"], message.get("stdin", ""))
            self._send(self._load(message) if message["do"] == "load" else self._call(message))

    def _load(self, message: Plain) -> Plain:
        self._module = new_module(message.get("name", "candidate"))
        _, failure = attempt(lambda: run_source(message["source"], self._module))
        return failure or {"loaded": True}

    def _call(self, message: Plain) -> Plain:
        args, kwargs = message["args"], message.get("kwargs", {})
        value, failure = attempt(lambda: plain_iterator(self._function(message)(*args, **kwargs)))
        return {**(failure or {"value": value}), "args": args, "kwargs": kwargs}

    def _function(self, message: Plain) -> Any:
        if message["do"] == "operate":
            return OPERATIONS[message["name"]]
        try:
            return self._module.__dict__[message["name"]]
        except KeyError:
            raise NameError(f"name {message['name']!r} is not defined") from None

    def _send(self, reply: Plain) -> None:
        """Send a reply; of one that exceeds the bounds only what it was."""
        try:
            self._channel.send(reply, self._keep)
        except WireError as error:
            short = {**reply, "args": None, "kwargs": None, "text": str(error)}
            if "value" in reply:
                short["value"] = Opaque(type(reply["value"]).__name__)
            self._channel.send(short)

    def _keep(self, thing: Any) -> Opaque:
        if id(thing) not in self._numbers:
            self._kept.append(thing)
            self._numbers[id(thing)] = len(self._kept)
        return Opaque(type(thing).__name__, self._numbers[id(thing)])

    def _found(self, opaque: Opaque) -> Any:
        if isinstance(opaque, PlainIterator):
            return iter(opaque.values)
        return self._kept[opaque.handle - 1] if 0 < opaque.handle <= len(self._kept) else opaque


def _become_program(channel: Channel, source: str, stdin: str) -> NoReturn:
    """Run a script as a process of its own would, its standard output going to the supervisor as it is written."""
    _feed_stdin(stdin)
    os.dup2(channel.replies_fd, 1)
    os.close(channel.replies_fd)
    os.close(channel.requests_fd)
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.argv = ["candidate"]
    status = _run_to_exit(source)
    sys.stdout.flush()
    os._exit(status)


def _feed_stdin(text: str) -> None:
    with open("stdin", "wb+") as file:
        os.unlink("stdin")
        file.write(text.encode("utf-8", "surrogateescape"))
        file.seek(0)
        os.dup2(file.fileno(), 0)


def _run_to_exit(source: str) -> int:
    """The exit status of a script, its threads and exit functions done."""
    status = 0
    try:
        run_source(source, new_module("__main__"))
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        status = 1
    if threading := sys.modules.get("threading"):
        threading._shutdown()
    atexit._run_exitfuncs()
    return status & 0xFF
