"""The SQLite file behind the score store: opened when it is needed, shared by processes, set aside when it is damaged.

Commits survive the end of the process, however it ends (write-ahead log); a power cut may cost the last ones, and never
the file. Nothing that happens to the file stops a run: what cannot be read is scored again, what cannot be written is
said, once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

from copgkit.errors import CopgkitError

T = TypeVar("T")

_PATIENCE_SECONDS = 30.0  # for another process that is writing
_DAMAGE = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_NOTADB}
_TABLES = """
CREATE TABLE IF NOT EXISTS sources (
    id INTEGER PRIMARY KEY, digest BLOB UNIQUE, distribution TEXT, name TEXT, version TEXT
);
CREATE TABLE IF NOT EXISTS scores (
    key BLOB PRIMARY KEY, source INTEGER, row BLOB, checksum BLOB, written INTEGER
) WITHOUT ROWID;
"""


class ScoreFile:
    """One file of scores. warn: receives what the user should know."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self.path, self._warn = path, warn
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None  # which file it is, should another take its name

    def attempt(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What the work gives; it is one transaction. A damaged file is set aside and the work done on a new one.

        Gives `otherwise`, with a warning, where the file cannot be used: no room, no right to write, locked for long.
        Raises CopgkitError for a sound database of somebody else.
        """
        for _ in range(2):
            try:
                with self._open() as connection:
                    return work(connection)
            except sqlite3.ProgrammingError:
                raise
            except sqlite3.DatabaseError as fault:
                code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
                if code not in _DAMAGE:
                    self._say_unusable(str(fault))
                    return otherwise
                self._set_aside(str(fault))
            except UnicodeDecodeError as fault:  # a message of SQLite's that quotes what it could not read
                self._set_aside(str(fault))
            except OSError as fault:
                self._say_unusable(fault.strerror or str(fault))
                return otherwise
        return otherwise

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # closing writes the log into the file, which may be damaged
                self._connection.close()
        self._connection = self._opened = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_PATIENCE_SECONDS)
            self._opened = _identity(self.path)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA trusted_schema = OFF")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        missing = {"sources", "scores"} - tables
        if tables and len(missing) == 2:
            raise CopgkitError(f"{self.path}: this database holds no scores. Name another file in scoring.store.")
        if tables and missing:
            raise sqlite3.DatabaseError(f"table {missing.pop()} is missing")
        with contextlib.suppress(sqlite3.OperationalError):  # another process is opening it, and sets the same
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if missing:
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")

    def _set_aside(self, reason: str) -> None:
        """Moves the damaged file and its logs out of the way, unless another process has done so already."""
        opened = self._opened
        self.close()
        if not self.path.exists() or _identity(self.path) != opened:
            return
        aside = next(name for n in count(1) if not (name := Path(f"{self.path}.damaged-{n}")).exists())
        for suffix in ("-wal", "-shm", ""):  # the logs first: a new file must never meet them
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        self._warn(
            f"score store: {self.path} is damaged ({reason}). It was moved to {aside.name}, and a new one was started;"
            " what it held is scored again."
        )

    def _say_unusable(self, reason: str) -> None:
        self._warn(
            f"score store: {self.path} cannot be used ({reason}); scores are not kept. Name another file in"
            " scoring.store, or null to keep none."
        )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
