"""One run at a time in a folder.

    RunLock.look(folder)               # raises CopgkitError, naming process, host and time, if another has it
    lock = RunLock.take(folder)        # the same; and from now on nobody else can
    lock.release()

The lock is the system's own (flock), which ends with the process that holds it, however that ends. Where the file
system knows none (some network drives) the file itself is the lock, and one of a process of this host that is gone is
taken over. Limits: without flock, the lock of another host is believed; take the file away if its process is dead.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from copgkit.errors import CopgkitError

LOCK_FILE = ".lock"


@dataclass
class RunLock:
    """The right to work in a folder. by_name: the file is the lock, and goes when it is released."""

    file: Path
    handle: int
    by_name: bool = False

    @staticmethod
    def look(folder: Path, lock: Callable[[int], None] | None = None) -> None:
        """Raises CopgkitError if another has the lock now. It takes nothing: asking is for those who begin with work
        that would be in vain, and `take` decides. lock: as for take, by default flock for reading."""
        file = folder / LOCK_FILE
        owner = _owner(file)
        if not owner or _is_gone_from_here(owner):
            return
        try:
            handle = os.open(file, os.O_RDONLY)
        except OSError:
            return
        try:
            (lock or partial(_flock, shared=True))(handle)
        except OSError as fault:  # it is locked; or there is no flock here, and the file is the lock
            raise _taken(file) from fault
        finally:
            os.close(handle)

    @classmethod
    def take(cls, folder: Path, lock: Callable[[int], None] | None = None) -> RunLock:
        """The lock of the folder. lock: locks an open file, and raises BlockingIOError if another has it, any other
        OSError if it cannot; by default flock."""
        file = folder / LOCK_FILE
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            (lock or _flock)(handle)
        except BlockingIOError as fault:
            os.close(handle)
            raise _taken(file) from fault
        except OSError:
            os.close(handle)
            return cls._take_by_name(file)
        return cls(file, _signed(handle))

    @classmethod
    def _take_by_name(cls, file: Path) -> RunLock:
        owner = _owner(file)
        if owner and not _is_gone_from_here(owner):
            raise _taken(file)
        file.unlink()  # empty, since it was made just now, or of a process that is gone
        try:
            return cls(file, _signed(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)), by_name=True)
        except FileExistsError as fault:
            raise _taken(file) from fault

    def release(self) -> None:
        """Gives the right back. Doing so twice does nothing."""
        if self.handle < 0:
            return
        if self.by_name:
            self.file.unlink(missing_ok=True)
        else:
            os.ftruncate(self.handle, 0)
        os.close(self.handle)
        self.handle = -1


def _flock(handle: int, shared: bool = False) -> None:
    try:
        import fcntl
    except ImportError as fault:  # Windows
        raise OSError("no flock") from fault
    fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _signed(handle: int) -> int:
    """The open file with who has it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}).encode())
    return handle


def _owner(file: Path) -> dict[str, Any]:
    """Who has the lock, as far as the file says."""
    with contextlib.suppress(OSError, ValueError):
        owner = json.loads(file.read_bytes())
        if isinstance(owner, dict):
            return owner
    return {}


def _taken(file: Path) -> CopgkitError:
    owner = _owner(file)
    return CopgkitError(
        f"{file.parent}: another run works in this folder: process {owner.get('pid', '?')} on"
        f" {owner.get('host', '?')} since {owner.get('since', '?')}. Wait for it, end it, or choose another folder with"
        f" --output or --fresh. If it is long gone, remove {LOCK_FILE}."
    )


def _is_gone_from_here(owner: Mapping[str, Any]) -> bool:
    """Whether it was a process of this host that is no more."""
    return bool(owner.get("host") == socket.gethostname() and _is_gone(owner.get("pid")))


def _is_gone(pid: Any) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
