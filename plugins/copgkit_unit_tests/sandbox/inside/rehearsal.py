"""A child's loop, run in the zygote on a text of ours, before there is anything hostile.

It leaves nothing behind but a warm interpreter: what it looks up and how often it has run stands in memory that every
child shares, and a child that finds it there neither works it out again nor has a page copied to write it down.
"""

from __future__ import annotations

import contextlib
import os
import sys

from .candidate import Candidate
from .encoding import encode
from .examiner import Examiner
from .framing import REQUEST_BOUNDS, Channel, framed
from .plain import Bounds, Plain

_ROUNDS = 20  # the interpreter adapts itself to code that has run about ten times
_SOURCE = "def double(values):\n    return [2 * value for value in values]\n"
_TESTS = "assert double([1, 2]) == [2, 4]\n"
_CALL = {"do": "call", "name": "double", "args": [[1, 2]], "kwargs": {}}
_SCRIPTS: dict[type[Candidate] | type[Examiner], list[Plain]] = {
    Candidate: [{"do": "load", "source": _SOURCE, "name": "candidate"}, _CALL, _CALL],
    Examiner: [
        {"do": "check", "source": _TESTS, "entry_point": "double", "names": []},
        {"value": [2, 4], "args": [[1, 2]], "kwargs": {}},
    ],
}


def rehearse(role: type[Candidate] | type[Examiner]) -> None:
    """Serve a script of requests a number of times, over pipes that nobody reads."""
    script = b"".join(framed(encode(message, REQUEST_BOUNDS)) for message in _SCRIPTS[role])
    modules = set(sys.modules)
    for _ in range(_ROUNDS):
        _serve_once(role, script)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def _serve_once(role: type[Candidate] | type[Examiner], requests: bytes) -> None:
    theirs, ours = os.pipe()
    unread, replies = os.pipe()
    os.write(ours, requests)
    os.close(ours)
    with contextlib.suppress(EOFError):
        role(Channel(theirs, replies, Bounds())).serve()
    for descriptor in (theirs, unread, replies):
        os.close(descriptor)
