"""One execution: a locked-down child, spoken to in plain data, and ended when it exceeds a limit.

    with pool.open("candidate") as session:
        session.send({"do": "load", "source": source})
        session.receive()                                   # {"loaded": True} or {"raised": ...}
        session.send({"do": "call", "name": "add", "args": [1, 2], "kwargs": {}})
        session.receive()                                   # {"value": 3, "args": [1, 2], "kwargs": {}}

What can be asked is in `inside/candidate.py` and `inside/examiner.py`. A session belongs to one thread. Its wall clock
runs only while somebody waits in `send` or `receive`, so that tests are not charged for the candidate they wait for,
and time spent queueing for a processor is not charged, so that a busy machine makes no wrong answers: who sleeps is at
the limit when the wall clock is, who computes when his processor time is, and who gets no processor at all has starved.
"""

from __future__ import annotations

import os
import select
import time
from types import TracebackType
from typing import NoReturn, Self

from .inside.decoding import decode
from .inside.encoding import encode
from .inside.framing import REQUEST_BOUNDS, framed
from .inside.plain import COUNT, Bounds, Plain, WireError
from .inside.zygote import EXIT_MEMORY
from .limits import GoneKind, Limits, SandboxGone, SandboxUnavailable
from .replies import is_reply
from .watch import Watched, holds_more_than
from .zygotes import LOST, Ending, Slot, ZygoteLost

_TICK_SECONDS = 0.05
_READY_SECONDS = 20.0
_LEAVING_SECONDS = 0.25  # from closing its pipe to being gone, for a process that exits
_DYING_SECONDS = 10.0  # from being killed to being gone
_STARVED_AFTER = 20  # times the wall limit, on a machine too busy to let it run
_SPAN = 1 << 16


class Session:
    """The supervisor's end of one execution. Use it as a context manager, or `close` it."""

    def __init__(self, slot: Slot, limits: Limits) -> None:
        """Fork the child. Raises SandboxGone("infrastructure") if there is none to be had."""
        self.ending: Ending | None = None  # how it ended, where that tells something
        self._slot = slot
        self._limits = limits
        self._bounds = Bounds(message_bytes=limits.output_kb << 10)
        self._gone: SandboxGone | None = None
        self._is_open = True
        self._is_ready = False
        self._asked = ""
        self._buffer = bytearray()
        self._waited = 0.0
        self._patience = _READY_SECONDS
        their_requests, self._requests = os.pipe()
        self._replies, their_replies = os.pipe()
        try:
            self._zygote, self._child = slot.spawn(their_requests, their_replies)
        except (ZygoteLost, SandboxUnavailable) as error:
            os.close(self._requests)
            os.close(self._replies)
            slot.release()
            raise SandboxGone("infrastructure", f"no child could be forked: {error}") from error
        finally:
            os.close(their_requests)
            os.close(their_replies)
        os.set_blocking(self._requests, False)
        os.set_blocking(self._replies, False)
        self._watched = Watched(self._child.pidfd)
        self._replies_or_exit = self._poll(self._replies, select.POLLIN)

    def send(self, message: dict[str, Plain]) -> None:
        """Give the child something to do. Raises SandboxGone; WireError (a ValueError) if the message is too large."""
        content = encode(message, REQUEST_BOUNDS)
        self._check_present()
        if self._asked:  # the first request waits in the pipe until the child is ready
            self._await_ready()
        self._asked = message.get("do", self._asked)  # an answer to a question asks for nothing new
        view = memoryview(framed(content))
        while view:
            try:
                view = view[os.write(self._requests, view) :]
            except BlockingIOError:
                if not self._wait(self._poll(self._requests, select.POLLOUT), self._requests):
                    self._left()
            except BrokenPipeError:
                self._left()

    def receive(self) -> dict[str, Plain]:
        """The child's next message, waited for within the limits. Raises SandboxGone.

        After {"do": "program"}: {"stdout": str, "status": int}, once the program has ended.
        """
        self._check_present()
        self._await_ready()
        if self._asked == "program":
            return self._receive_output()
        reply = self._receive_reply(self._asked)
        self._check_files()
        return reply

    def close(self) -> None:
        """End the child, whatever it does, and everything it started. May be called twice."""
        if not self._is_open:
            return
        self._watched.kill()
        if self._slot.children_leave_nothing and self._watched.has_exited(_DYING_SECONDS):
            self._zygote.bury(self._child)
            self._let_go()
        else:
            self._reap()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _check_present(self) -> None:
        if self._gone is not None:
            raise self._gone
        if not self._is_open:
            raise ValueError("the session is closed")

    def _await_ready(self) -> None:
        """Nothing hostile runs before the child has said that its layers are up."""
        if not self._is_ready:
            self._receive_reply("ready")
            self._is_ready = True
            self._waited, self._patience = 0.0, self._limits.wall_seconds

    def _receive_reply(self, asked: str) -> dict[str, Plain]:
        (length,) = COUNT.unpack(self._read(COUNT.size))
        if length > self._bounds.message_bytes:
            self._end("output", f"a reply of {length} bytes; {self._bounds.message_bytes} are allowed")
        try:
            message: dict[str, Plain] = decode(self._read(length), self._bounds)
        except WireError as error:
            self._end("protocol", str(error))
        if not is_reply(message, asked):
            self._end("protocol", f"a message that is no reply to '{asked}'")
        return message

    def _receive_output(self) -> dict[str, Plain]:
        while self._read_some():
            if len(self._buffer) > self._bounds.message_bytes:
                self._end("output", f"more than {self._bounds.message_bytes} bytes of standard output")
        self._wait_for_exit()
        self._check_files()
        ending = self._reap()
        if ending.status < 0 or ending.status == LOST:
            self._end(*_blame(ending, self._limits))
        return {"stdout": self._buffer.decode(errors="replace"), "status": ending.status}

    def _read(self, length: int) -> bytes:
        while len(self._buffer) < length:
            if not self._read_some():
                self._left()
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    def _read_some(self) -> bool:
        """Add to the buffer what comes next. False when nothing will come any more."""
        if not self._wait(self._replies_or_exit, self._replies):
            return False
        part = os.read(self._replies, _SPAN)
        self._buffer += part
        return bool(part)

    def _poll(self, descriptor: int, event: int) -> select.poll:
        """Waits for a descriptor or the child's exit; in this order, so that what it wrote at the end is seen."""
        poll = select.poll()
        if self._child.pidfd is not None:
            poll.register(self._child.pidfd, select.POLLIN)
        poll.register(descriptor, event)
        return poll

    def _wait(self, poll: select.poll, descriptor: int) -> bool:
        """Wait until a descriptor is ready. False if the child has exited instead; raises SandboxGone at a limit."""
        while True:
            started = time.monotonic()
            ready = poll.poll(1000 * _TICK_SECONDS)
            self._waited += time.monotonic() - started
            if ready:
                return any(found == descriptor for found, _ in ready)
            self._check_limits()

    def _wait_for_exit(self) -> None:
        """A program that has closed its output still has to end within its limits."""
        if self._child.pidfd is not None:
            self._wait(self._poll(self._child.pidfd, select.POLLIN), self._child.pidfd)

    def _check_limits(self) -> None:
        used = self._watched.cpu_seconds()
        if used > self._limits.cpu_seconds:
            self._end("timeout", f"more than {self._limits.cpu_seconds:g} s of processor time")
        if self._watched.threads() > self._limits.threads + 1:  # the kernel's own limit may be one off
            self._end("killed", f"more than {self._limits.threads} threads")
        self._check_files()
        if self._waited < self._patience:
            return
        queued = self._watched.queued_seconds()
        detail = f"{self._waited:.2f} s passed, {used:.2f} s of it running and {queued:.2f} s queueing to run"
        if self._waited - queued > self._patience:
            self._end("timeout", detail)
        if self._waited > _STARVED_AFTER * self._patience:
            self._end("starved", detail)

    def _check_files(self) -> None:
        """Looked at while it runs and before anything that it says is taken: it may write and answer within a tick."""
        if self._slot.folder_is_on_host and holds_more_than(self._slot.settings.scratch, self._limits.disk_mb):
            self._end("output", f"more than {self._limits.disk_mb} MB in files")

    def _left(self) -> NoReturn:
        """The child hangs up: say why, by the way it ended."""
        gone_by_itself = self._watched.has_exited(_LEAVING_SECONDS)
        ending = self._reap()
        if not gone_by_itself:
            self._end("protocol", "it closed its channel")
        self._end(*_blame(ending, self._limits))

    def _end(self, kind: GoneKind, detail: str) -> NoReturn:
        self.close()
        if not self._is_ready:
            kind, detail = "infrastructure", f"the child could not be locked down ({kind}: {detail})"
        self._gone = SandboxGone(kind, detail)
        raise self._gone

    def _reap(self) -> Ending:
        """Have the child ended, and its folder emptied, by its zygote, which knows how it ended."""
        self._watched.kill()
        try:
            self.ending = self._zygote.end(self._child)
        except ZygoteLost:
            self._slot.discard(self._zygote)
            self.ending = Ending(LOST, self._watched.cpu_seconds())
        self._let_go()
        return self.ending

    def _let_go(self) -> None:
        self._is_open = False
        self._slot.release()
        for descriptor in (self._requests, self._replies, self._child.pidfd):
            if descriptor is not None:
                os.close(descriptor)


def _blame(ending: Ending, limits: Limits) -> tuple[GoneKind, str]:
    """What an ending that nobody ordered means."""
    if ending.status == LOST:
        return "infrastructure", "the zygote is gone, and its children with it"
    if ending.status == EXIT_MEMORY:
        return "memory", f"{limits.memory_mb} MB did not suffice"
    if ending.status >= 0:
        return "exited", f"with status {ending.status}"
    if ending.cpu_seconds >= limits.cpu_seconds:
        return "timeout", f"more than {limits.cpu_seconds:g} s of processor time"
    return "killed", f"by signal {-ending.status}"
