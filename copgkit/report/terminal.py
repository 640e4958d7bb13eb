"""Progress that can be watched: bars on a terminal, plain lines otherwise.

Everything shown passes through `plain`: reasons and names may come from foreign text, which must not steer a terminal.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from copgkit.progress import Phase, Progress
from copgkit.report.plain import plain
from copgkit.report.summary import Summary, as_cells

if TYPE_CHECKING:
    from rich.console import Console

_SECONDS_BETWEEN_LINES = 5.0
_WIDE = 90  # characters that the table needs for both intervals


def make_progress(quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """Bars if the stream (standard error) is a terminal, plain lines if not, warnings alone if quiet."""
    stream = stream or sys.stderr
    if stream.isatty() and not quiet and os.environ.get("TERM") != "dumb":
        return BarProgress(stream)
    return LineProgress(stream, quiet)


class LineProgress(Progress):
    """Plain lines: where a phase begins and ends, and every few seconds how far a long one is."""

    def __init__(self, stream: TextIO, quiet: bool = False, every: float = _SECONDS_BETWEEN_LINES) -> None:
        super().__init__()
        self._stream, self._quiet, self.every = stream, quiet, every

    @contextmanager
    def phase(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Phase]:
        """Says that the phase begins, and when it is over how long it took."""
        phase = _LinePhase(self, name, total, unit)
        self.message(name if total is None else f"{name}: {total} {unit}".rstrip())
        yield phase
        self.message(f"{name}: {_ended(phase, unit)}")

    def message(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            self._print(plain(text))

    def show_warning(self, text: str) -> None:
        """One line, also when quiet."""
        self._print(f"warning: {plain(text)}")

    def _print(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        print(text.encode(encoding, "replace").decode(encoding), file=self._stream, flush=True)


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
        if now - self._said < self._progress.every or self.done == self._total:
            return
        self._said = now
        self._progress.message(f"{self._name}: {self._share()}{_figures_text(self.figures)}{self._left(now)}")

    def _share(self) -> str:
        share = f"{self.done}/{self._total}" if self._total else f"{self.done}"
        return f"{share} {self._unit}".rstrip()

    def _left(self, now: float) -> str:
        if not self._total or not self.done:
            return ""
        return f", {_duration((now - self.started) / self.done * (self._total - self.done))} left"


class BarProgress(Progress):
    """rich progress bars with figures and the time left; a phase that is over becomes a line."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        super().__init__()
        self._console = Console(file=stream, highlight=False)
        self._bars = _bars(self._console)
        self._open = 0

    @contextmanager
    def phase(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Phase]:
        """Shows a bar while the phase lasts; phases within it show theirs below."""
        task = self._bars.add_task(plain(name), total=total, figures="", indent="  " * self._open)
        if not self._open:
            self._bars.start()
        self._open += 1
        phase = _BarPhase(self._bars, task)
        try:
            yield phase
            self._say_done(name, _ended(phase, unit))
        finally:
            self._bars.remove_task(task)
            self._open -= 1
            if not self._open:
                self._bars.stop()

    def message(self, text: str) -> None:
        """One line above the bars."""
        from rich.text import Text

        self._console.print(Text(plain(text)))

    def show_warning(self, text: str) -> None:
        """One yellow line above the bars."""
        from rich.text import Text

        self._console.print(Text.assemble(("warning: ", "bold yellow"), (plain(text), "yellow")))

    def _say_done(self, name: str, text: str) -> None:
        from rich.text import Text

        indent = "  " * (self._open - 1)
        self._console.print(Text.assemble(indent, (plain(name), "green"), f": {text}"))


class _BarPhase(Phase):
    def __init__(self, bars: Any, task: Any) -> None:
        self.started = time.perf_counter()
        self._bars, self._task = bars, task
        self.done = 0
        self.figures: dict[str, float] = {}

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.done += amount
        self.figures.update(figures)
        self._bars.update(self._task, advance=amount, figures=_figures_text(self.figures).removeprefix(", "))


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """The table before and after on standard output, with the headline above it; clear changes are bold.

    A narrow screen gets the interval of the last evaluation alone.
    """
    from rich import box
    from rich.console import Console as Screen
    from rich.table import Table
    from rich.text import Text

    screen = console or Screen(highlight=False)
    screen.print(Text(plain(summary.headline)))
    if not summary.lines:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = [("", ""), ("before", ""), ("95 %", "dim"), ("after", ""), ("95 %", "dim"), ("difference", "")]
    shown = [index for index in range(len(columns)) if index != 2 or screen.width >= _WIDE]
    for index in shown:
        heading, style = columns[index]
        table.add_column(heading, justify="right" if index else "left", style=style, no_wrap=index > 0)
    for cells in as_cells(summary):
        texts = [Text(plain(cell)) for cell in cells[:-1]]
        texts[-1].stylize("bold" if cells.is_clear else "dim")
        table.add_row(*(texts[index] for index in shown))
    screen.print(table)


def _bars(console: Console) -> Any:
    """The columns of a bar: name, bar, count, figures, time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.fields[indent]}{task.description}", markup=False),
        BarColumn(bar_width=24, complete_style="blue", finished_style="blue"),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}", style="cyan", markup=False),
        console=console,
        transient=True,
    )


def _ended(phase: _LinePhase | _BarPhase, unit: str) -> str:
    """How much was done, in what time, with which figures at the end."""
    amount = f"{phase.done} {unit}".rstrip()
    return f"{amount} in {_duration(time.perf_counter() - phase.started)}{_figures_text(phase.figures)}"


def _figures_text(figures: Mapping[str, float]) -> str:
    return "".join(f", {name} {value:.3f}" for name, value in figures.items())


def _duration(seconds: float) -> str:
    """A time as people say it: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
