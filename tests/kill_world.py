"""Runs in processes of their own, which are killed or sent signals at any moment, and a diary of what was done in them.

with forked(copgkit.run, recipe) as process:      # has all that this process has imported: it starts at once
    process.ends_by(signal.SIGKILL, after=0.3)    # -9; 0 if it was done before

diary = Diary(file)
diary.is_kept_of(monkeypatch)                     # in this process and those forked from it
diary.done_twice()                                # what was begun although it had been kept
"""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copgkit.engine import reference
from copgkit.engine.calling import Caller
from copgkit.engine.kept import KeptBatches
from copgkit.store import LogProbShelf, ScoreShelf

_SECONDS = 120.0


@dataclass
class Forked:
    """A process that was forked from this one. status: as subprocess gives it; None while it is at work."""

    pid: int
    log: Path | None
    status: int | None = None

    def ends_by(self, number: int, after: float) -> int:
        """Sends a signal after so many seconds, and gives the status."""
        time.sleep(after)
        self.send(number)
        return self.end()

    def send(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def end(self, within: float = _SECONDS) -> int:
        """The status, once it has ended."""
        deadline = time.monotonic() + within
        while not self.has_ended():
            assert time.monotonic() < deadline, f"still at work {within:.0f} s later: {self.said()}"
            time.sleep(0.002)
        assert self.status is not None
        return self.status

    def said(self) -> str:
        """What it has written to standard error."""
        return "" if self.log is None or not self.log.exists() else self.log.read_text(errors="replace")[-3000:]

    def has_ended(self) -> bool:
        """Whether it has."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None


@contextmanager
def forked(work: Callable[..., Any], *arguments: Any, log: Path | None = None) -> Iterator[Forked]:
    """work(*arguments) in a process of its own, which is gone when this ends. An exception in it is status 1."""
    pid = os.fork()
    if pid == 0:
        _serve(work, arguments, log)
    process = Forked(pid, log)
    try:
        yield process
    finally:
        if process.status is None:
            process.send(signal.SIGKILL)
            process.end()


def _serve(work: Callable[..., Any], arguments: Sequence[Any], log: Path | None) -> None:
    status = 1
    try:
        os.dup2(os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        work(*arguments)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def without_report(patch: Any) -> None:
    """A report takes longer than all the rest of so small a run."""
    patch.setattr("copgkit.runner.record.write_report", lambda *parts: None)


@dataclass
class Diary:
    """A file that says of every batch of completions, every call of a reward source and every forward pass of the
    reference when it was begun and when it was kept. It outlives the processes that write it."""

    file: Path
    _at_hand: list[list[str]] = field(default_factory=lambda: [[], []])

    def is_kept_of(self, patch: Any) -> None:
        """From now on."""
        rows, scores, keep = KeptBatches.rows, Caller.scores, ScoreShelf.keep
        log_probs, keep_log_probs = reference.log_probs_of, LogProbShelf.keep
        of_scores, of_reference = self._at_hand

        def rows_and_note(kept, streams, max_tokens, settings, write):
            name = f"written {kept.model()} {settings} {list(streams)}"
            found = rows(kept, streams, max_tokens, settings, lambda: self._noting([name], write))
            self._note("kept", [name])
            return found

        def scores_and_note(caller, units):
            texts = [(unit.group.prompt.content_key, one.text) for unit in units for one in unit.group.completions]
            of_scores[:] = [f"scored {caller.label} {text}" for text in texts]
            return self._noting(of_scores, lambda: scores(caller, units))

        def keep_and_note(shelf, own):
            keep(shelf, own)
            self._note("kept", of_scores)

        def log_probs_and_note(model, group):
            name = f"reference {[one.token_ids for one in group.completions]} {group.prompt.content_key}"
            of_reference.append(name)
            return self._noting([name], lambda: log_probs(model, group))

        def keep_log_probs_and_note(shelf, groups, own):
            keep_log_probs(shelf, groups, own)
            self._note("kept", of_reference)
            of_reference.clear()

        patch.setattr(KeptBatches, "rows", rows_and_note)
        patch.setattr(Caller, "scores", scores_and_note)
        patch.setattr(ScoreShelf, "keep", keep_and_note)
        patch.setattr(reference, "log_probs_of", log_probs_and_note)
        patch.setattr(LogProbShelf, "keep", keep_log_probs_and_note)

    def begun(self) -> list[str]:
        """All that was begun, as often as it was."""
        return [name for what, name in self._notes() if what == "begun"]

    def done_twice(self) -> list[str]:
        """What was begun although it had been kept."""
        kept: set[str] = set()
        twice = []
        for what, name in self._notes():
            if what == "kept":
                kept.add(name)
            elif name in kept:
                twice.append(name)
        return twice

    def _noting(self, names: Sequence[str], work: Callable[[], Any]) -> Any:
        self._note("begun", names)
        return work()

    def _note(self, what: str, names: Sequence[str]) -> None:
        """One write, which no kill divides."""
        lines = "".join(json.dumps([what, name]) + "\n" for name in names)
        handle = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, lines.encode())
        os.close(handle)

    def _notes(self) -> Iterator[tuple[str, str]]:
        return (tuple(json.loads(line)) for line in self.file.read_text().splitlines()) if self.file.exists() else ()
