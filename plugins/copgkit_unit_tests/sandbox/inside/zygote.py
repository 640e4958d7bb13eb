"""A process prepared once, from which every execution is forked: milliseconds instead of an interpreter's start.

Started by the supervisor (`sandbox/zygotes.py`) with an empty environment, `python -I -S`, and no descriptor but a
control socket. Over that socket come only numbers and descriptors; the code and the tests of an execution go directly
to its child, so that the zygote's memory, which every later child inherits, never holds them.

    SPAWN with the child's two pipe ends -> its process id, with a pidfd where there are such
    the id of a child                    -> its ENDING, the child killed and reaped

Every child's first touch of a page that it shares with the zygote costs a copy of it, and so does every touch of the
zygote's own once there is a child. So what can be done once is done here before the first fork: modules imported, the
layers laid out, the child's loop run a few times.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
from typing import NoReturn

from .candidate import Candidate
from .control import ENDING, SPAWN, Control, numbers
from .decoding import decode
from .encoding import encode
from .examiner import Examiner
from .framing import Channel, framed
from .lockdown import Enclosure, enclose_zygote
from .memory import filled_holes
from .namespaces import ProcessNamespaces
from .plain import COUNT, Bounds
from .private_root import SCRATCH
from .rehearsal import rehearse
from .scratch import Folders
from .settings import Settings

REQUESTS_FD, REPLIES_FD, OTHER_FDS = 3, 4, 5  # a child's channel, and the first that it closes
ENVIRONMENT = {"LD_BIND_NOW": "1"}  # all that a zygote is started with
EXIT_HUNG_UP, EXIT_MEMORY, EXIT_LOCKDOWN = 0, 101, 102
ROLES: dict[str, type[Candidate] | type[Examiner]] = {"candidate": Candidate, "tests": Examiner}
# fmt: off
# Not `threading` and `random`, nor what imports them: they do something in every child that is forked, and cost it more
# than a program that wants them loses by importing them itself.
USUAL_IMPORTS = (
    "abc", "array", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "csv", "ctypes",
    "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "inspect", "io",
    "itertools", "json", "math", "numbers", "operator", "os", "re", "string", "struct", "sys", "textwrap", "time",
    "traceback", "types", "typing", "unicodedata",
)
# fmt: on


def main() -> None:
    """Read the settings, put up what is put up once, then fork children until the supervisor hangs up."""
    control = Control(socket.socket(fileno=int(sys.argv[2])))
    sys.argv[:] = ["candidate"]
    for name in ENVIRONMENT:
        os.environ.pop(name, None)
    settings = Settings(**decode(control.receive()[0], Bounds()))
    try:
        zygote = _prepare(settings, control)
    except OSError as error:
        fault = f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
        control.send(encode(fault, Bounds()))
        return
    os.dup2(1, 2)  # from here on nothing is said but over the control socket
    control.send(encode(None, Bounds()))
    with contextlib.suppress(EOFError):
        zygote.serve()


def _prepare(settings: Settings, control: Control) -> Zygote:
    enclose_zygote(settings, control.fileno())
    _import_from(settings)
    for name in USUAL_IMPORTS:
        importlib.import_module(name)
    zygote = Zygote(control, settings)
    zygote.settle()
    return zygote


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
        while os.dup(0) < REPLIES_FD:  # so that the zygote's own descriptors lie above a child's
            continue
        self._control = control
        self._settings = settings
        self._fork = ProcessNamespaces().fork if "pid" in settings.layers else os.fork
        self._folders = None if "mount" in settings.layers else Folders(settings.scratch)
        self._enclosures: dict[str, Enclosure] = {}  # by the folder that is written to
        self._lent: dict[int, str] = {}
        role = ROLES[settings.role]
        rehearse(role)
        channel = Channel(REQUESTS_FD, REPLIES_FD, Bounds(message_bytes=settings.output_kb << 10))
        self._served = role(channel)
        self._ready = framed(encode({"ready": True}, Bounds()))
        self._filling: list[bytes] = []

    def settle(self) -> None:
        """Leave the memory as it is best inherited, before the first fork."""
        gc.collect()
        self._filling = filled_holes()
        gc.freeze()

    def serve(self) -> None:
        """Until the supervisor hangs up, which raises EOFError."""
        while True:
            request, descriptors = self._control.receive()
            child, *dead = numbers(request)
            for pid in dead:
                os.waitpid(pid, 0)
            if child == SPAWN:
                self._spawn(*descriptors)
            else:
                self._control.send(self._end(child))

    def _spawn(self, requests_fd: int, replies_fd: int) -> None:
        folder = self._folders.lend() if self._folders else SCRATCH
        enclosure = self._enclosure(folder)
        pid = self._fork()
        if pid == 0:
            self._become_child(enclosure, requests_fd, replies_fd)
        pidfds = [os.pidfd_open(pid)] if hasattr(os, "pidfd_open") else []
        self._control.send(COUNT.pack(pid), pidfds)
        for descriptor in [requests_fd, replies_fd, *pidfds]:
            os.close(descriptor)
        if self._folders:
            self._lent[pid] = folder

    def _enclosure(self, folder: str) -> Enclosure:
        if folder not in self._enclosures:
            self._enclosures[folder] = Enclosure(self._settings, folder, OTHER_FDS)
        return self._enclosures[folder]

    def _end(self, pid: int) -> bytes:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it may not be a group's leader yet
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        if self._folders:
            self._folders.take_back(self._lent.pop(pid))
        return ENDING.pack(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime)

    def _become_child(self, enclosure: Enclosure, requests_fd: int, replies_fd: int) -> NoReturn:
        status = EXIT_LOCKDOWN
        try:
            os.dup2(requests_fd, REQUESTS_FD)
            os.dup2(replies_fd, REPLIES_FD)
            enclosure.put_up()
            os.write(REPLIES_FD, self._ready)
            status = 1
            status = _serve(self._served)
        finally:
            os._exit(status)


def _serve(served: Candidate | Examiner) -> int:
    try:
        served.serve()
    except EOFError:
        return EXIT_HUNG_UP
    except MemoryError:
        return EXIT_MEMORY
    return EXIT_HUNG_UP


if __name__ == "__main__":
    main()
