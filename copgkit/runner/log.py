"""The figures of a run as they come: in memory, in its folder, and at its trackers.

What depends on the clock or on what a store held already goes to a file of its own, so that the metrics of a run are
the same whenever and however often it is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from copgkit.store import Journal, RunFolder, read_metrics

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
        self._trackers, self._main, self._folder = trackers, main, folder
        self._lengths: dict[str, int] | None = None
        self._cut_back = {"metrics": folder.metrics, "samples": folder.samples}
        self._files = [(self.rows, Journal(folder.metrics)), (self.timings, Journal(folder.timing))]

    def add(self, figures: Mapping[str, float]) -> None:
        """Figures of this step by metric name, of both kinds."""
        self._lengths = None
        lasting = {name: value for name, value in figures.items() if not name.endswith(_PASSING)}
        passing = {name: value for name, value in figures.items() if name not in lasting}
        for (rows, journal), part in zip(self._files, (lasting, passing), strict=True):
            if part:
                row = {"step": self.step, **part}
                rows.append(row)
                if self._main:
                    journal.append(row)
        self._trackers.log(figures, self.step)

    def lengths(self) -> dict[str, int]:
        """How long the files are that a run which goes on cuts back, by name. They are looked at only after something
        was added: samples are written with the figures of their evaluation."""
        if self._lengths is None:
            self._lengths = {name: _length(file) for name, file in self._cut_back.items()}
        return self._lengths

    def go_on(self, step: int, lengths: Mapping[str, int]) -> None:
        """Forgets what was logged after these lengths. Every process has to ask."""
        from copgkit.engine import ranks

        self.step, self._lengths = step, None
        ranks.from_main(lambda: _cut([(file, lengths[name]) for name, file in self._cut_back.items()]))
        for rows, file in ((self.rows, self._folder.metrics), (self.timings, self._folder.timing)):
            rows[:] = read_metrics(file) if file.exists() else []

    def latest(self, name: str) -> float | None:
        """The latest value of a metric."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)

    def close(self) -> None:
        """Lets the trackers finish, without waiting long."""
        self._trackers.close()


def _length(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0


def _cut(files: Iterable[tuple[Path, int]]) -> bool:
    """Leaves so much of the beginning of each file that is there."""
    for file, length in files:
        if file.exists():
            os.truncate(file, length)
    return True
