"""The figures of a run as they come: in memory, in its folder, and at its trackers.

What depends on the clock or on what a store held already goes to a file of its own, so that the metrics of a run are
the same whenever and however often it is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from copgkit.store import Journal, RunFolder

if TYPE_CHECKING:
    from copgkit.engine.tracking import Trackers

_PASSING = ("/store-hits", "/store-misses", "-per-second/value")
"""Ends of the names of figures that another run of the same recipe would not give again."""

Row = dict[str, float]


class Log:
    """Takes figures at a step. rows: what was logged; timings: what depends on circumstances. main: this process writes
    the files."""

    def __init__(self, folder: RunFolder, trackers: Trackers, main: bool) -> None:
        self.step = 0
        self.rows: list[Row] = []
        self.timings: list[Row] = []
        self._trackers, self._main = trackers, main
        self._files = [(self.rows, Journal(folder.metrics)), (self.timings, Journal(folder.timing))]

    def add(self, figures: Mapping[str, float]) -> None:
        """Figures of this step by metric name, of both kinds."""
        lasting = {name: value for name, value in figures.items() if not name.endswith(_PASSING)}
        passing = {name: value for name, value in figures.items() if name not in lasting}
        for (rows, journal), part in zip(self._files, (lasting, passing), strict=True):
            if part:
                row = {"step": self.step, **part}
                rows.append(row)
                if self._main:
                    journal.append(row)
        self._trackers.log(figures, self.step)

    def latest(self, name: str) -> float | None:
        """The latest value of a metric."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)

    def close(self) -> None:
        """Lets the trackers finish, without waiting long."""
        self._trackers.close()
