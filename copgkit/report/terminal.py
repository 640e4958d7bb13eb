"""Progress that can be watched: bars on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from copgkit.progress import Phase, Progress
from copgkit.report.summary import Summary, as_text

if TYPE_CHECKING:
    from rich.console import Console

_SECONDS_BETWEEN_LINES = 5.0


def make_progress(quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """Bars if the stream (standard error) is a terminal, plain lines if not, warnings alone if quiet."""
    stream = stream or sys.stderr
    if stream.isatty() and not quiet:
        return BarProgress(stream)
    return LineProgress(stream, quiet)


class LineProgress(Progress):
    """Plain lines: the end of every phase, and every few seconds where a long one stands."""

    def __init__(self, stream: TextIO, quiet: bool = False) -> None:
        self._stream, self._quiet = stream, quiet

    @contextmanager
    def phase(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Phase]:
        """Says when the phase is over and how long it took."""
        phase = _LinePhase(self, name, total, unit)
        yield phase
        seconds = time.perf_counter() - phase.started
        self.message(f"{name}: {phase.done} {unit} in {seconds:.1f} s{_figures_text(phase.figures)}")

    def message(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            print(text, file=self._stream, flush=True)

    def warning(self, text: str) -> None:
        """One line, also when quiet."""
        print(f"warning: {text}", file=self._stream, flush=True)


class _LinePhase(Phase):
    def __init__(self, progress: LineProgress, name: str, total: int | None, unit: str) -> None:
        self.started = self._said = time.perf_counter()
        self.done = 0
        self.figures: dict[str, float] = {}
        self._progress, self._name, self._total, self._unit = progress, name, total, unit

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.done += amount
        self.figures.update(figures)
        now = time.perf_counter()
        if now - self._said < _SECONDS_BETWEEN_LINES or self.done == self._total:
            return
        self._said = now
        share, left = f"{self.done} {self._unit}", ""
        if self._total:
            share = f"{self.done}/{self._total} {self._unit}"
            left = f", {(now - self.started) / self.done * (self._total - self.done):.0f} s left"
        self._progress.message(f"{self._name}: {share}{_figures_text(self.figures)}{left}")


class BarProgress(Progress):
    """rich progress bars with figures and the time left; finished phases become a line."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = Console(file=stream, highlight=False)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._open = 0

    @contextmanager
    def phase(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Phase]:
        """Shows a bar while the phase lasts."""
        task = self._bars.add_task(name, total=total, figures="")
        if not self._open:
            self._bars.start()
        self._open += 1
        phase = _BarPhase(self._bars, task)
        started = time.perf_counter()
        try:
            yield phase
            seconds = time.perf_counter() - started
            self.message(f"[green]✓[/] {name}: {phase.done} {unit} in {seconds:.1f} s{_figures_text(phase.figures)}")
        finally:
            self._bars.remove_task(task)
            self._open -= 1
            if not self._open:
                self._bars.stop()

    def message(self, text: str) -> None:
        """One line above the bars."""
        self._console.print(text)

    def warning(self, text: str) -> None:
        """One yellow line above the bars."""
        from rich.text import Text

        self._console.print(Text.assemble(("warning: ", "bold yellow"), (text, "yellow")))


class _BarPhase(Phase):
    def __init__(self, bars: Any, task: Any) -> None:
        self._bars, self._task = bars, task
        self.done = 0
        self.figures: dict[str, float] = {}

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.done += amount
        self.figures.update(figures)
        self._bars.update(self._task, advance=amount, figures=_figures_text(self.figures).removeprefix(", "))


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """The table before and after on standard output, with the headline above it."""
    from rich import box
    from rich.console import Console as Screen
    from rich.table import Table

    screen = console or Screen(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("figure")
    for column in ("before", "after", "difference"):
        table.add_column(column, justify="right")
    for cells in as_text(summary):
        table.add_row(*cells)
    screen.print(summary.headline)
    if summary.lines:
        screen.print(table)


def _figures_text(figures: dict[str, float]) -> str:
    return "".join(f", {name} {value:.3f}" for name, value in figures.items())
