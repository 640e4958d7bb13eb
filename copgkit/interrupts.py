"""How a run is asked to end: by SIGTERM, SIGINT or SIGUSR1, which schedulers and people send.

    with interrupts.heeded():                 # the first signal raises Interrupted, a second one ends the process
        with interrupts.held_back():          # but not in here,
            interrupts.leave_if_asked()       # only where it is looked at

An exception in the middle of a step would leave weights of which half were moved; in the middle of anything else it
costs nothing, since all that took long is on disk already. Standard library only; works in the main thread alone, where
Python delivers signals, and elsewhere does nothing.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

EXIT_STATUS = 75
"""The status of a process that has saved its work and can be started again (EX_TEMPFAIL)."""

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
"""Those that are heeded, as far as the system knows them."""

_SECONDS_OF_ONE = 0.3
"""Ctrl-C reaches a process from the terminal and from its launcher: what comes so soon is the same signal."""


class Interrupted(KeyboardInterrupt):
    """A signal asked this run to end."""


class AllInterrupted(Interrupted):
    """A signal asked the run to end, and every process of it leaves at this very place."""


@dataclass
class _State:
    heeded: bool = False
    asked: float | None = None  # when, by a clock that only goes forward
    held_back: int = 0


_state = _State()


@contextmanager
def heeded() -> Iterator[None]:
    """While it lasts, the signals end the work in an orderly way. Within another one it adds nothing."""
    if _state.heeded or threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.heeded, _state.asked, _state.held_back = True, None, 0
    before = {number: signal.signal(number, _hear) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _state.heeded, _state.asked = False, None


@contextmanager
def held_back() -> Iterator[None]:
    """While it lasts, a signal is remembered and raises nothing."""
    _state.held_back += 1
    try:
        yield
    finally:
        _state.held_back -= 1


def is_asked() -> bool:
    """Whether a signal has come."""
    return _state.asked is not None


def leave_if_asked() -> None:
    """Raises Interrupted if a signal has come."""
    if is_asked():
        raise Interrupted("a signal asked the run to end")


def _hear(number: int, frame: FrameType | None) -> None:
    if _state.asked is not None:
        if time.monotonic() - _state.asked > _SECONDS_OF_ONE:
            os._exit(128 + number)
        return
    _state.asked = time.monotonic()
    if not _state.held_back:
        leave_if_asked()
