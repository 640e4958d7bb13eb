"""Completions as they came from a model, batch by batch, so that a killed run does not write them again.

    written = WrittenBatches(file, warn)
    written.keep("name of the batch", [((5, 8, 2), -3.25), ((5, 2), -1.5)])   # ids, and their log-probability
    written.find("name of the batch")                        # the same, bit for bit; None for what is not there

A batch is one line with a checksum of itself; a line that is cut off or damaged is none. What is kept is where lines
are, not what they hold. Limits: one process writes a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

Row = tuple[tuple[int, ...], float | None]


class WrittenBatches:
    """A file of batches. warn: receives what the user should know."""

    def __init__(self, file: Path, warn: Callable[[str], None]) -> None:
        self.file, self._warn = file, warn
        self._places: dict[str, tuple[int, int]] | None = None
        self._full = False

    def find(self, name: str) -> list[Row] | None:
        """The rows of a batch: ids, and their log-probability in nats where it is known."""
        place = self._index().get(name)
        if place is None:
            return None
        with self.file.open("rb") as file:
            file.seek(place[0])
            batch = _batch(file.read(place[1]))
        return None if batch is None else batch[1]

    def keep(self, name: str, rows: Sequence[Row]) -> None:
        """Writes a batch. A disk without room costs a warning: these completions would be written again."""
        if self._full:
            return
        content = json.dumps([name, rows], separators=(",", ":"))
        line = f"{_checksum(content)} {content}\n".encode()
        index = self._index()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as file:
                start = file.tell()
                file.write(line)
        except OSError as fault:
            self._full = True
            self._warn(
                f"{self.file.name}: completions can no longer be kept ({fault.strerror}); a run that is broken off now"
                " writes them again."
            )
            return
        index[name] = (start, len(line))

    def forget(self) -> None:
        """Lets go of all batches: a checkpoint holds what came of them."""
        self.file.unlink(missing_ok=True)
        self._places, self._full = {}, False

    def _index(self) -> dict[str, tuple[int, int]]:
        """Where the sound lines are. A last line without its end is cut off, so that the next one begins a new one."""
        if self._places is None:
            self._places, start = {}, 0
            for line in self.file.open("rb") if self.file.exists() else ():
                batch = _batch(line)
                if batch is not None:
                    self._places[batch[0]] = (start, len(line))
                start += len(line)
            if start and not line.endswith(b"\n"):
                with self.file.open("r+b") as file:
                    file.truncate(start - len(line))
        return self._places


def _batch(line: bytes) -> tuple[str, list[Row]] | None:
    """Name and rows of a line that is what was written."""
    check, _, content = line.rstrip(b"\n").partition(b" ")
    try:
        text = content.decode("ascii")
        if check.decode("ascii") != _checksum(text):
            return None
        name, rows = json.loads(text)
        return name, [(tuple(ids), log_prob) for ids, log_prob in rows]
    except (ValueError, TypeError):
        return None


def _checksum(content: str) -> str:
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
