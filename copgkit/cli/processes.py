"""Several processes of one command on this machine: started together, ended together, heard once.

The first process speaks for all of them. If one fails, the others are ended, and what is printed is its error alone:
those that waited for it only know that it is gone. Limits: one machine. On several, `accelerate launch -m copgkit run`
starts the processes, and each prints its own error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from copgkit.errors import CopgkitError
from copgkit.interrupts import EXIT_STATUS, SIGNALS
from copgkit.launched import FAULT_FILE, MEETING_FILE, is_one_of_several

_SECONDS_TO_END = 10.0
_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_FOR_THE_CAUSE = 2.0
_LINES_SHOWN = 20


def run_together(command: Sequence[str], count: int) -> int:
    """Runs the command in so many processes, says what failed if something did, and gives the exit status: 0, that of
    the process that failed first, or 75 if a signal ended all of them in an orderly way.

    Signals are passed on, and the processes given the time to save; a second one ends them. Raises CopgkitError if this
    is itself one of several processes.
    """
    if is_one_of_several():
        raise CopgkitError(
            "--processes: this command was launched in several processes already. Leave the option out, or start it"
            " without a launcher."
        )
    with tempfile.TemporaryDirectory(prefix="copgkit-") as folder:
        team = [_start(command, rank, count, Path(folder)) for rank in range(count)]
        try:
            with _passing_on_signals(team) as received:
                failed = _first_failed(team, received)
        finally:
            _end(team)
        if received:
            saved = all(member.process.returncode == EXIT_STATUS for member in team)
            return EXIT_STATUS if saved else 128 + received[0]
        if failed is None:
            return 0
        print(failed.fault(), file=sys.stderr)
        return failed.status


@dataclass
class _Member:
    """One of the processes, and the files in which it leaves what may have to be said of it."""

    rank: int
    process: subprocess.Popen[bytes]
    fault_file: Path
    errors_file: Path

    @property
    def status(self) -> int:
        """Its exit status as this command gives it: 1 if it was killed."""
        return max(self.process.returncode, 1)

    @property
    def order(self) -> tuple[int, int]:
        """Sorts those that have failed: who can say what the user should mend, who was killed, who broke down."""
        told = self.fault_file.stat().st_mtime_ns if self.fault_file.exists() else 0
        if self.process.returncode == 2:
            return 0, told
        return (2, told) if told else (1, 0)

    def fault(self) -> str:
        """What is to be printed."""
        if self.fault_file.exists():
            return self.fault_file.read_text(encoding="utf-8").rstrip()
        if self.process.returncode < 0:
            name = signal.Signals(-self.process.returncode).name
            why = " The usual reason is too little memory." if name == "SIGKILL" else ""
            return f"process {self.rank} was ended by {name}, and the others with it.{why}"
        said = self.errors_file.read_text(encoding="utf-8", errors="replace") if self.errors_file.exists() else ""
        return "\n".join(
            [f"process {self.rank} ended with status {self.process.returncode}.", *said.splitlines()[-_LINES_SHOWN:]]
        )


def _start(command: Sequence[str], rank: int, count: int, folder: Path) -> _Member:
    """The process of this rank. Only the first one is heard; what the others print is kept for when they crash."""
    fault_file, errors_file = folder / f"fault-{rank}", folder / f"errors-{rank}"
    environment = os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": str(_threads(count)),
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        MEETING_FILE: str(folder / "meeting"),
        FAULT_FILE: str(fault_file),
    }
    with errors_file.open("wb") as kept:
        process = subprocess.Popen(
            list(command),
            env=environment,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=None if rank == 0 else kept,
            start_new_session=True,  # Ctrl-C reaches this command alone, which passes it on once
        )
    return _Member(rank, process, fault_file, errors_file)


def _threads(count: int) -> int:
    """Threads for each process: its share of the cores, and no more than the user allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, cores // count)
    return min(share, int(allowed)) if allowed.isdecimal() and int(allowed) else share


@contextmanager
def _passing_on_signals(team: Sequence[_Member]) -> Iterator[list[int]]:
    """While it lasts, the signals that end a run go to every member. Gives the list of those received."""
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for member in team:
            if member.process.poll() is None:
                member.process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_failed(team: Sequence[_Member], received: Sequence[int]) -> _Member | None:
    """Waits until all have ended well or one has failed; after a signal, until all have ended or a second has come."""
    while len(received) < 2:
        statuses = [member.process.poll() for member in team]
        if received:
            if None not in statuses:
                return None
        elif any(statuses):
            return min(_all_failed(team), key=lambda member: member.order)
        if all(status == 0 for status in statuses):
            return None
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return None


def _all_failed(team: Sequence[_Member]) -> list[_Member]:
    """Those that have failed, after a moment in which others may fail by the same fault. A breakdown may be the
    consequence of a fault that another process is yet to tell, and gets a longer one."""
    deadline = time.monotonic() + _SECONDS_FOR_THE_CAUSE
    while True:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        statuses = [member.process.poll() for member in team]
        if 2 in statuses or None not in statuses or time.monotonic() > deadline:
            return [member for member, status in zip(team, statuses, strict=True) if status]


def _end(team: Sequence[_Member]) -> None:
    """Ends those that still run: they are asked, and those that do not go in time are killed."""
    running = [member.process for member in team if member.process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + _SECONDS_TO_END
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
