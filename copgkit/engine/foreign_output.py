"""What foreign code prints while it works for a run: a few lines of it are shown, the rest is counted.

    overheard = Overheard("reward source 'taste'", progress.message)
    with overheard:
        source.score(completions)

Standard output belongs to whoever started the run and may read the run folder's name there, and a log has no room for
what a source prints about each of a million completions. Limits: it takes what Python prints; a library in C, or a
child process, still writes where it wants. sys.stdout is one for all threads, so what others print meanwhile is taken
for the source's.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from types import TracebackType

from copgkit.redaction import redacted

_LINES_SHOWN = 20
_LONGEST_LINE = 500


class Overheard(io.TextIOBase):
    """Takes the place of standard output and error. who: what each line is shown as said by."""

    def __init__(self, who: str, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._who, self._tell = who, tell
        self._begun, self._shown = "", 0
        self._places: list[ExitStack] = []

    def __enter__(self) -> Overheard:
        self._fileno = sys.stdout.fileno
        places = ExitStack()
        places.enter_context(redirect_stdout(self))
        places.enter_context(redirect_stderr(self))
        self._places.append(places)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._places.pop().close()
        if self._begun:
            self.write("\n")

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """That of standard output, for child processes that are given it."""
        return self._fileno()

    def write(self, text: str) -> int:
        """Shows whole lines, as long as there is room for them."""
        if self._shown <= _LINES_SHOWN:
            # A secret of several lines can be told before they are taken apart.
            *lines, begun = redacted(self._begun + text[: _LINES_SHOWN * _LONGEST_LINE]).split("\n")
            self._begun = begun[:_LONGEST_LINE]
            for line in filter(str.strip, lines):
                self._show(line)
        return len(text)

    def _show(self, line: str) -> None:
        self._shown += 1
        if self._shown <= _LINES_SHOWN:
            self._tell(f"{self._who}: {line[:_LONGEST_LINE]}")
        elif self._shown == _LINES_SHOWN + 1:
            self._tell(f"{self._who}: it prints more, which is not shown.")
