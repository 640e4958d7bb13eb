"""Trying each layer by itself, with the very code that puts it up, and seeing that it holds.

Started by `sandbox/probe.py` in a bare interpreter, as a zygote is. Each layer is tried in a process of its own, which
answers with one line: name, "yes" or "no", and why not.
"""

from __future__ import annotations

import ast
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

from . import landlock, namespaces, seccomp
from .kernel import Call, machine, syscall
from .privileges import gaining_none, having_none
from .rlimits import apply_limits, limits_of
from .settings import Settings

_PR_GET_NO_NEW_PRIVS = 39
_FOLDER_OUTSIDE = "/etc"


class Broken(Exception):
    """A layer went up and does not hold."""


def main() -> None:
    """Try every layer and print a line about each. The settings come as text on standard input."""
    settings = Settings(**ast.literal_eval(sys.stdin.read()))
    for name, trial in TRIALS.items():
        pid = os.fork()
        if pid == 0:
            _answer(name, trial, settings)
        os.waitpid(pid, 0)


def _answer(name: str, trial: Callable[[Settings], None], settings: Settings) -> None:
    try:
        trial(settings)
        line = f"{name}\tyes\t"
    except Exception as error:
        line = f"{name}\tno\t{error}"
    os.write(1, line.replace("\n", " ").encode() + b"\n")
    os._exit(0)


def _try_limits(settings: Settings) -> None:
    apply_limits(limits_of(settings))
    _expect(resource.getrlimit(resource.RLIMIT_CORE) == (0, 0), "a limit that was set does not show")


def _try_privileges(settings: Settings) -> None:
    _make([gaining_none(), having_none()])
    _expect(syscall("prctl", _PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "new privileges can still be had")


def _try_landlock(settings: Settings) -> None:
    _enclose(settings)
    _make([gaining_none(), having_none()])
    landlock.confining(landlock.ruleset(("/usr",), settings.scratch))()
    _expect_refused(lambda: os.listdir(_FOLDER_OUTSIDE), f"{_FOLDER_OUTSIDE} can be read")
    os.rmdir(_made(settings.scratch + "/own"))


def _try_landlock_truncation(settings: Settings) -> None:
    version = landlock.abi()
    _expect(version >= 3, f"its version is {version} and does not watch over truncation; Linux 6.2 brings version 3")


def _try_filter(settings: Settings) -> None:
    _make([gaining_none(), having_none()])
    for program in (seccomp.zygote_program, seccomp.child_program):
        seccomp.Filter(program(machine())).apply()
    _expect_refused(socket.socket, "a socket can be made")
    _expect_refused(os.fork, "a process can be made")
    os.kill(os.getpid(), 0)


def _try_user(settings: Settings) -> None:
    _enclose(settings, "user")
    _expect(settings.uid is None or os.getuid() == settings.uid, "the user is another than was asked for")


def _try_mount(settings: Settings) -> None:
    _enclose(settings, "user", "mount")
    _make(namespaces.own_scratch(settings))
    _expect(not os.path.exists("/proc") and not os.path.exists(_FOLDER_OUTSIDE), "the host's files can be seen")
    _expect_refused(lambda: os.mkdir("/usr/x"), "the interpreter's folders can be written")


def _try_pid(settings: Settings) -> None:
    _enclose(settings, "user", "pid")
    children = namespaces.ProcessNamespaces()
    for _ in range(2):
        pid = children.fork()
        if pid == 0:
            os._exit(0 if os.getpid() == 1 else 1)
        _expect(os.waitpid(pid, 0)[1] == 0, "a child sees other processes")


def _try_net(settings: Settings) -> None:
    _enclose(settings, "user", "net")
    with socket.socket() as end:
        _expect_refused(lambda: end.connect(("127.0.0.1", 9)), "the network can be reached")
    _expect(socket.if_nameindex() == [(1, "lo")], "there are network interfaces")


def _try_ipc(settings: Settings) -> None:
    _enclose(settings, "user", "ipc")


def _enclose(settings: Settings, *layers: str) -> None:
    namespaces.enclose(replace(settings, layers=layers), os.dup(1))


def _make(calls: Iterable[Call]) -> None:
    for call in calls:
        call()


def _made(folder: str) -> str:
    os.mkdir(folder)
    return folder


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def _expect_refused(action: Callable[[], object], otherwise: str) -> None:
    try:
        action()
    except OSError:
        return
    raise Broken(otherwise)


TRIALS: dict[str, Callable[[Settings], None]] = {
    "limits": _try_limits,
    "privileges": _try_privileges,
    "landlock": _try_landlock,
    "landlock-truncation": _try_landlock_truncation,
    "filter": _try_filter,
    "user": _try_user,
    "mount": _try_mount,
    "pid": _try_pid,
    "net": _try_net,
    "ipc": _try_ipc,
}
