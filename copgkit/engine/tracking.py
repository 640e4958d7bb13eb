"""Trackers (tensorboard, wandb, mlflow, ...) beside a run that never waits for them.

    trackers = Trackers(accelerator, "tldr", progress.warning)
    trackers.log({"train/loss/mean": 0.5}, step=1)      # returns at once
    trackers.close()                                    # waits for what is under way, 5 s at most

A tracker may talk to a server that is slow, down, or asks for a login. It is started, fed and finished in a thread of
its own. What it cannot take is left out and said once: metrics.jsonl has every figure. Limits: a tracker that still
hangs when the run ends is left behind, and its own clean-up when Python exits may take its time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

from accelerate import Accelerator

_PATIENCE_SECONDS = 5.0
_ROWS_WAITING = 1000  # beyond which figures are left out

Row = tuple[dict[str, float], int]


class Trackers:
    """The trackers that an accelerator was given. project: under which name they file the run. tell: is told what goes
    wrong."""

    def __init__(self, accelerator: Accelerator, project: str, tell: Callable[[str], None]) -> None:
        self._accelerator, self._project, self._tell = accelerator, project, tell
        self._waiting: queue.Queue[Row | None] = queue.Queue(_ROWS_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        if accelerator.log_with and accelerator.is_main_process:
            self._thread.start()

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Hands over a row of metrics."""
        if not self._thread.is_alive():
            return
        try:
            self._waiting.put_nowait((dict(figures), step))
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """Lets the trackers finish, for a few seconds. It may be called more than once."""
        if self._thread.is_alive():
            self.log({}, 0) if self._waiting.full() else self._waiting.put_nowait(None)
            self._thread.join(_PATIENCE_SECONDS)
        lost = self._lost + sum(row is not None for row in list(self._waiting.queue))
        if self._thread.is_alive() or lost:
            self._tell(
                f"train.trackers: they did not keep up; {lost} rows are not with them. metrics.jsonl has every figure."
            )
            self._lost = 0
        self._accelerator.trackers = []  # whoever ends the training must not wait for them again

    def _work(self) -> None:
        try:
            self._accelerator.init_trackers(self._project)
            while (row := self._waiting.get()) is not None:
                if row[0]:
                    self._accelerator.log(row[0], step=row[1])
            for tracker in self._accelerator.trackers:
                tracker.finish()
        except Exception as fault:  # trackers raise what their libraries raise
            self._tell(
                f"train.trackers: they ended with {type(fault).__name__}: {fault}. The run goes on without them;"
                " metrics.jsonl has all figures."
            )
