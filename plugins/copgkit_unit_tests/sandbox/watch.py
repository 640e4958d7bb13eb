"""Looking at a running child from outside: processor time, time spent waiting for a processor, threads, files.

Reads the child's processor clock and `/proc` by the process id behind its pidfd. Where there is neither (macOS), every
figure is zero, and the kernel's own limits and the wall clock are all there is.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from functools import cached_property
from pathlib import Path


class Watched:
    """A child seen through its pidfd."""

    def __init__(self, pidfd: int | None) -> None:
        self._pidfd = pidfd

    @cached_property
    def _pid(self) -> int | None:
        """The process id as this process sees it."""
        if self._pidfd is None or sys.platform != "linux":
            return None
        try:
            text = Path(f"/proc/self/fdinfo/{self._pidfd}").read_text()
        except OSError:  # no /proc here
            return None
        found = re.search(r"^Pid:\s*(\d+)$", text, re.MULTILINE)
        return int(found[1]) if found and int(found[1]) > 0 else None

    def kill(self) -> None:
        """Send SIGKILL, if there is still somebody to get it."""
        if self._pidfd is not None:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return

    def has_exited(self, within_seconds: float) -> bool:
        """Whether it is gone, or is so within some time: it, its threads and all that was its own."""
        if self._pidfd is None:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(1000 * within_seconds))

    def cpu_seconds(self) -> float:
        """Processor time of all threads so far."""
        if self._pid is None:
            return 0.0
        try:
            return time.clock_gettime((~self._pid << 3) | 2)  # the clock of another process: see clock_getcpuclockid(3)
        except OSError:
            return 0.0

    def queued_seconds(self) -> float:
        """Time the main thread was ready to run and had no processor."""
        try:
            return int(self._proc("schedstat").split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def threads(self) -> int:
        """Threads it has now."""
        found = re.search(r"^Threads:\s*(\d+)$", self._status(), re.MULTILINE)
        return int(found[1]) if found else 0

    def _status(self) -> str:
        try:
            return self._proc("status")
        except OSError:
            return ""

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._pid}/{name}").read_text() if self._pid is not None else ""


_FILES_PER_MB = 64


def holds_more_than(folder: str, megabytes: int) -> bool:
    """Whether a folder that somebody is writing to holds more than this, or very many files."""
    size, number, folders = 0, 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    number += 1
                    size += entry.stat(follow_symlinks=False).st_size
                    if size > megabytes << 20 or number > _FILES_PER_MB * megabytes:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError:  # a path too long for the kernel, or a folder nobody may enter
            return True
    return False
