"""The supervisor's handle on one zygote: start it, have children made and ended, restart it when it is lost."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from .inside.control import ENDING, SPAWN, Control, request
from .inside.decoding import decode
from .inside.encoding import encode
from .inside.plain import COUNT, Bounds
from .inside.scratch import remove_folder
from .inside.settings import Settings
from .inside.zygote import ENVIRONMENT
from .interpreter import bare_interpreter
from .limits import SandboxUnavailable

_START_SECONDS = 60.0
_ANSWER_SECONDS = 20.0
_LEAVING_SECONDS = 2.0  # from hanging up to being gone


LOST = 1000  # stands for the exit status of a child whose zygote is gone


class ZygoteLost(Exception):
    """The zygote does not answer any more."""


@dataclass(frozen=True)
class Spawned:
    """A child: its process id as the zygote sees it, and a pidfd (None where the system has none)."""

    pid: int
    pidfd: int | None


@dataclass(frozen=True)
class Ending:
    """How a child ended: exit status (minus the signal's number if by a signal) and what it used."""

    status: int
    cpu_seconds: float


class Zygote:
    """One zygote process. Thread-safe: requests go one after the other."""

    def __init__(self, settings: Settings) -> None:
        """Start it. Raises SandboxUnavailable if it cannot put up its layers."""
        self._lock = threading.Lock()
        self._dead: list[int] = []
        ours, theirs = socket.socketpair()
        ours.settimeout(_START_SECONDS)
        with theirs:
            try:
                self._process = _start(theirs.fileno())
            except OSError as error:
                ours.close()
                raise SandboxUnavailable(f"sandbox: no bare interpreter can be started: {error}.") from error
        self._control = Control(ours)
        try:
            answer, _ = self._ask(encode(settings.plain(), Bounds()))
            fault = decode(answer, Bounds())
        except (ZygoteLost, ValueError) as error:
            said = _last_words(self._process.stderr)
            self.close()
            raise SandboxUnavailable(f"sandbox: the zygote does not start ({error}). It said: {said}") from error
        if fault is not None:
            self.close()
            raise SandboxUnavailable(f"sandbox: the zygote could not put up its layers: {fault}.")
        ours.settimeout(_ANSWER_SECONDS)

    def spawn(self, requests_fd: int, replies_fd: int) -> Spawned:
        """Fork a child that speaks over these pipe ends. Raises ZygoteLost."""
        with self._lock:
            dead, self._dead = self._dead, []
        answer, descriptors = self._ask(request(SPAWN, dead), [requests_fd, replies_fd])
        return Spawned(COUNT.unpack(answer)[0], descriptors[0] if descriptors else None)

    def end(self, child: Spawned) -> Ending:
        """Kill a child and wait for it. Raises ZygoteLost."""
        answer, _ = self._ask(request(child.pid))
        return Ending(*ENDING.unpack(answer))

    def bury(self, child: Spawned) -> None:
        """Have a child reaped that is dead and of no further interest, when the zygote is next asked for something."""
        with self._lock:
            self._dead.append(child.pid)

    def close(self) -> None:
        """End the zygote and, by the layers it has, whatever is left of its children."""
        self._control.close()
        try:
            self._process.wait(_LEAVING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()

    def _ask(self, content: bytes, descriptors: Sequence[int] = ()) -> tuple[bytes, Sequence[int]]:
        with self._lock:
            try:
                self._control.send(content, descriptors)
                return self._control.receive()
            except (OSError, EOFError) as error:
                raise ZygoteLost(str(error) or type(error).__name__) from error


def _start(control_fd: int) -> subprocess.Popen[bytes]:
    """A bare interpreter, nothing inherited: no environment, no descriptor but one, no terminal, no site-packages.

    What it is given lets the loader look up every function at the start, so that no child has to; it is soon forgotten.
    """
    return subprocess.Popen(
        bare_interpreter("inside.zygote", str(control_fd)),
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[control_fd],
        start_new_session=True,
    )


def _last_words(stderr: IO[bytes] | None) -> str:
    text = stderr.read(4000).decode(errors="replace").strip() if stderr else ""
    return text.splitlines()[-1] if text else "nothing"


class Slot:
    """A place where one execution at a time runs best: a zygote that is restarted if lost, and a folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sessions = 0  # open ones
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None

    @property
    def folder_is_on_host(self) -> bool:
        """Whether an execution writes to the host's own disk, where nothing but watching limits it."""
        return "mount" not in self.settings.layers

    @property
    def children_leave_nothing(self) -> bool:
        """Whether all that an execution has, processes and files, is gone once its first process is."""
        return {"mount", "pid"} <= set(self.settings.layers)

    def spawn(self, requests_fd: int, replies_fd: int) -> tuple[Zygote, Spawned]:
        """A child and the zygote it belongs to. A lost zygote is replaced once; then raises ZygoteLost."""
        zygote = self.zygote()
        try:
            return zygote, zygote.spawn(requests_fd, replies_fd)
        except ZygoteLost:
            self.discard(zygote)
            fresh = self.zygote()
            return fresh, fresh.spawn(requests_fd, replies_fd)

    def zygote(self) -> Zygote:
        """The zygote, started if there is none."""
        with self._lock:
            if self._zygote is None:
                _prepare_folder(self.settings)
                self._zygote = Zygote(self.settings)
            return self._zygote

    def occupy(self) -> None:
        """One session more."""
        with self._lock:
            self.sessions += 1

    def release(self) -> None:
        """One session less."""
        with self._lock:
            self.sessions -= 1

    def discard(self, zygote: Zygote) -> None:
        """Close a zygote that is lost, unless somebody did already."""
        with self._lock:
            if self._zygote is zygote:
                self._zygote = None
        zygote.close()

    def close(self) -> None:
        """Close the zygote, if there is one, and remove the folder."""
        with self._lock:
            if self._zygote is not None:
                self._zygote.close()
            self._zygote = None
        _empty(self.settings.scratch)


def _empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        remove_folder(folder)


def _prepare_folder(settings: Settings) -> None:
    """An empty folder of the slot's user, that no other user may enter."""
    _empty(settings.scratch)
    os.mkdir(settings.scratch, 0o700)
    if settings.uid is not None:
        os.chown(settings.scratch, settings.uid, settings.uid)
