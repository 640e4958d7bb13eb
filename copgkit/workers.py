"""Many slow calls at once: bounded in number and in time, results in order.

For work that waits for something else (a judge on the network, a process of its own), where threads suffice. A thread
cannot be killed: work that is late is left behind and its result ignored, so give every call a timeout of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def bounded_map(
    work: Callable[[T], R],
    items: Sequence[T],
    workers: int,
    deadline: float | None = None,
    late: Callable[[T], R] | None = None,
) -> list[R]:
    """The results of work(item), in the order of the items, from at most `workers` threads at once.

    deadline: seconds for all items together; None waits as long as it takes. Of an item that is not done by then,
    late(item) is the result; without `late`, TimeoutError is raised. The first exception of `work` is raised here, and
    no further item is begun; KeyboardInterrupt ends the waiting too.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least one must work.")
    pool = _Pool(work, items)
    pool.start(min(workers, len(items)))
    try:
        pool.wait(deadline)
    finally:
        done = pool.end()
    return [done[index] if index in done else _late(item, late, deadline) for index, item in enumerate(items)]


def _late(item: T, late: Callable[[T], R] | None, deadline: float | None) -> R:
    if late is None:
        raise TimeoutError(f"not done within {deadline} seconds")
    return late(item)


class _Pool(Generic[T, R]):
    """Threads that take one item after the other until none is left, one has raised, or the pool has ended."""

    def __init__(self, work: Callable[[T], R], items: Sequence[T]) -> None:
        self.work, self.items = work, items
        self.begun = 0
        self.ended = False
        self.results: dict[int, R] = {}
        self.fault: BaseException | None = None
        self.changed = threading.Condition()

    def start(self, workers: int) -> None:
        for number in range(workers):  # daemons: what is left behind does not keep the program from ending
            threading.Thread(target=self._serve, name=f"bounded_map-{number}", daemon=True).start()

    def wait(self, seconds: float | None) -> None:
        """Returns when all is done or the time is over; raises what the work raised."""
        until = None if seconds is None else time.monotonic() + seconds
        with self.changed:
            while self.fault is None and len(self.results) < len(self.items):
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return
                self.changed.wait(left)
        if self.fault is not None:
            raise self.fault

    def end(self) -> dict[int, R]:
        """Begins nothing more; gives the results there are, by index."""
        with self.changed:
            self.ended = True
            return dict(self.results)

    def _serve(self) -> None:
        while (index := self._next()) is not None:
            try:
                result = self.work(self.items[index])
            except BaseException as fault:  # raised again where the results are waited for
                self._finish(fault=fault)
                return
            self._finish(index, result)

    def _next(self) -> int | None:
        with self.changed:
            if self.ended or self.fault is not None or self.begun == len(self.items):
                return None
            self.begun += 1
            return self.begun - 1

    def _finish(self, index: int = 0, result: R | None = None, fault: BaseException | None = None) -> None:
        with self.changed:
            if fault is not None:
                self.fault = self.fault or fault
            else:
                self.results[index] = result  # type: ignore[assignment]
            self.changed.notify_all()
