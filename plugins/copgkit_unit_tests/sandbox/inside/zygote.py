"""A process prepared once, from which every execution is forked: milliseconds instead of an interpreter's start.

Started by the supervisor (`sandbox/zygotes.py`) with an empty environment, `python -I -S`, and no descriptor but a
control socket. Over that socket come only numbers and descriptors; the code and the tests of an execution go directly
to its child, so that the zygote's memory, which every later child inherits, never holds them.

    {"do": "spawn"} with the child's two pipe ends -> {"pid"} with a pidfd where there are such
    {"do": "end", "pid"}                            -> {"status", "cpu_seconds", "peak_mb"}, the child killed and reaped
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import tempfile
from typing import NoReturn

from . import lockdown
from .candidate import Candidate
from .control import Control
from .examiner import Examiner
from .framing import Channel
from .namespaces import ProcessNamespaces
from .plain import Bounds, Plain
from .private_root import SCRATCH
from .scratch import Folders
from .settings import Settings

EXIT_HUNG_UP, EXIT_MEMORY, EXIT_LOCKDOWN = 0, 101, 102
ROLES: dict[str, type[Candidate] | type[Examiner]] = {"candidate": Candidate, "tests": Examiner}
# fmt: off
USUAL_IMPORTS = (
    "abc", "array", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "csv", "ctypes",
    "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "inspect", "io",
    "itertools", "json", "math", "numbers", "operator", "os", "queue", "random", "re", "statistics", "string",
    "struct", "sys", "tempfile", "textwrap", "threading", "time", "traceback", "types", "typing", "unicodedata",
)
# fmt: on


def main() -> None:
    """Read the settings, put up what is put up once, then fork children until the supervisor hangs up."""
    control = Control(socket.socket(fileno=int(sys.argv[2])))
    sys.argv[:] = ["candidate"]
    settings = Settings(**control.receive()[0])
    try:
        _prepare(settings, control)
    except OSError as error:
        control.send({"failed": f"{error.strerror or error} ({error.filename})" if error.filename else str(error)})
        return
    os.dup2(1, 2)  # from here on nothing is said but over the control socket
    control.send({"ready": True})
    with contextlib.suppress(EOFError):
        Zygote(control, settings).serve()


def _prepare(settings: Settings, control: Control) -> None:
    lockdown.enclose_zygote(settings, control.fileno())
    _import_from(settings)
    for name in USUAL_IMPORTS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _import_from(settings: Settings) -> None:
    """Make `import` look where the standard library can be read, also for the packages that are loaded already."""
    home, library = settings.library_home, settings.library
    for module in list(sys.modules.values()):
        if path := getattr(module, "__path__", None):
            module.__path__ = [place.replace(home, library, 1) for place in path]
    sys.path[:] = [place.replace(home, library, 1) for place in sys.path] + list(settings.extra_paths)
    sys.path_importer_cache.clear()


class Zygote:
    """Answers the supervisor, one request after the other."""

    def __init__(self, control: Control, settings: Settings) -> None:
        self._control = control
        self._settings = settings
        self._namespaces = ProcessNamespaces("pid" in settings.layers)
        self._folders = None if "mount" in settings.layers else Folders(settings.scratch)
        self._lent: dict[int, str] = {}

    def serve(self) -> None:
        """Until the supervisor hangs up, which raises EOFError."""
        while True:
            message, descriptors = self._control.receive()
            if message["do"] == "spawn":
                self._spawn(*descriptors)
            else:
                self._control.send(self._end(message["pid"]))

    def _spawn(self, requests_fd: int, replies_fd: int) -> None:
        folder = self._folders.lend() if self._folders else SCRATCH
        pid = self._namespaces.fork()
        if pid == 0:
            self._become_child(folder, requests_fd, replies_fd)
        self._lent[pid] = folder
        pidfds = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        self._control.send({"pid": pid}, pidfds)
        for descriptor in [requests_fd, replies_fd, *pidfds]:
            os.close(descriptor)

    def _end(self, pid: int) -> Plain:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it may not be a group's leader yet
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        folder = self._lent.pop(pid)
        if self._folders:
            self._folders.take_back(folder)
        return {
            "status": os.waitstatus_to_exitcode(status),
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
        }

    def _become_child(self, folder: str, requests_fd: int, replies_fd: int) -> NoReturn:
        self._control.close()
        status = EXIT_LOCKDOWN
        try:
            channel = _own_channel(requests_fd, replies_fd, self._settings.output_kb)
            lockdown.enclose_child(self._settings, folder)
            tempfile.tempdir = None
            channel.send({"ready": True})
            status = 1
            status = _serve(self._settings.role, channel)
        finally:
            os._exit(status)


def _own_channel(requests_fd: int, replies_fd: int, output_kb: int) -> Channel:
    """The channel on descriptors 3 and 4, every other descriptor above 2 closed."""
    requests_copy, replies_copy = os.dup(requests_fd), os.dup(replies_fd)
    os.dup2(requests_copy, 3)
    os.dup2(replies_copy, 4)
    os.closerange(5, os.sysconf("SC_OPEN_MAX"))
    return Channel(3, 4, Bounds(message_bytes=output_kb << 10))


def _serve(role: str, channel: Channel) -> int:
    try:
        ROLES[role](channel).serve()
    except EOFError:
        return EXIT_HUNG_UP
    except MemoryError:
        return EXIT_MEMORY
    return EXIT_HUNG_UP


if __name__ == "__main__":
    main()
