"""A limit on how long a piece of foreign work may take.

Python cannot stop a thread from outside. Work that is over its time is therefore left behind in a thread that ends with
the process; whoever started it must not start it again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class OverTime(Exception):
    """The time is over and the work is not. Another class than TimeoutError, which the work may raise itself."""


def within(seconds: float | None, work: Callable[[], T]) -> T:
    """The result of the work, or what it raises. None: it runs where it is, for as long as it takes.

    With a limit it runs in a thread of its own, so that what belongs to a thread (torch's autocast and inference mode,
    a database connection) is not there. Raises OverTime when the time is over.
    """
    if seconds is None:
        return work()
    ended: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            ended.put(([work()], None))
        except BaseException as fault:  # it is raised again where somebody can hear it
            ended.put(([], fault))

    threading.Thread(target=attempt, daemon=True).start()
    try:
        result, fault = ended.get(timeout=seconds)
    except queue.Empty:
        raise OverTime from None
    if fault is not None:
        raise fault
    return result[0]
