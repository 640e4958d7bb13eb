"""The score store: what reward sources have said, by content, so that nothing is scored twice.

The log-probabilities of references (`log_prob_shelf`) are rows of the same file.

    store = ScoreStore(path, warn)
    shelf = store.shelf(identify)              # one source's part of it; the panel asks it first
    shelf.find(shelf.keys(groups))

Weights, maps, beta and objective are no part of a key: they apply to what is read. Failures are never kept, since they
may be gone the next time.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

from copgkit.store.score_file import ScoreFile
from copgkit.store.score_keys import NotNameable, SourceIdentity, group_key, prompt_digest
from copgkit.store.score_rows import checksum, pack, unpack
from copgkit.types import Group, Prompt, Score

_KEYS_PER_QUERY = 500


def default_store_path() -> Path:
    """The file in the user's cache folder: COPGKIT_CACHE, or copgkit in XDG_CACHE_HOME, or ~/.cache/copgkit."""
    own = os.environ.get("COPGKIT_CACHE")
    if own:
        return Path(own) / "scores.sqlite"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "copgkit" / "scores.sqlite"


class ScoreStore:
    """A file of scores that several processes may use at once. warn: receives what the user should know."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self.path, self.warn = path, warn
        self.file = ScoreFile(path, warn)

    def shelf(self, identify: Callable[[], SourceIdentity], reads_recorded_scores: bool = False) -> ScoreShelf:
        """The part of one source. identify is asked when the first key is needed, and once."""
        return ScoreShelf(self, identify, reads_recorded_scores)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, list[Score]]:
        """The scores under those of the keys that are there and undamaged."""
        found = {key: unpack(row) for key, row in self.find_rows(keys).items()}
        return {key: scores for key, scores in found.items() if scores is not None}

    def keep(self, source: SourceIdentity, scores: Mapping[bytes, Sequence[Score]]) -> None:
        """Writes scores under their keys, all or none; they are safe when it returns."""
        self.keep_rows(source, {key: pack(row) for key, row in scores.items()})

    def find_rows(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What was written under those of the keys that are there and undamaged."""

        def work(connection: sqlite3.Connection) -> dict[bytes, bytes]:
            return dict(sound(row for some in _batches(keys) for row in _rows(connection, some)))

        return self.file.attempt(work, {}) if self.path.exists() else {}  # looking makes no file

    def keep_rows(self, source: SourceIdentity, rows: Mapping[bytes, bytes]) -> None:
        """Writes rows under their keys, all or none; they are safe when it returns."""

        def work(connection: sqlite3.Connection) -> None:
            number, now = _source_number(connection, source), int(time.time())
            written = [(key, number, row, checksum(key, row), now) for key, row in rows.items()]
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?)", written)

        if rows:
            self.file.attempt(work, None)

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        self.file.close()


class ScoreShelf:
    """The scores of one source."""

    def __init__(
        self, store: ScoreStore, identify: Callable[[], SourceIdentity], reads_recorded_scores: bool = False
    ) -> None:
        self._store, self._identify, self._with_recorded = store, identify, reads_recorded_scores

    @cached_property
    def source(self) -> SourceIdentity:
        """Whose scores these are."""
        return self._identify()

    def keys(self, groups: Sequence[Group]) -> list[bytes | None]:
        """One key per group, for all of its completions together. None, with a warning, where a fact has no name by
        content."""
        source, prompts = self.source.digest, self._prompt_digests(groups)
        return [
            None
            if (prompt := prompts[id(group.prompt)]) is None
            else group_key(source, prompt, group, self._with_recorded)
            for group in groups
        ]

    def find(self, keys: Sequence[bytes]) -> dict[bytes, list[Score]]:
        """The scores of those that are there."""
        return self._store.find(keys)

    def keep(self, scores: Mapping[bytes, Sequence[Score]]) -> None:
        """Writes scores, all or none of them; they are safe when it returns."""
        self._store.keep(self.source, scores)

    def _prompt_digests(self, groups: Sequence[Group]) -> dict[int, bytes | None]:
        """Digests by the prompt's place in memory; completions of one prompt share it."""
        return {
            place: self._digest(prompt) for place, prompt in {id(each.prompt): each.prompt for each in groups}.items()
        }

    def _digest(self, prompt: Prompt) -> bytes | None:
        try:
            return prompt_digest(prompt)
        except NotNameable as fault:
            self._store.warn(
                f"score store: {prompt.place} has {fault} among its facts, which has no name by content. Scores of such"
                " prompts are not kept; use text and numbers."
            )
            return None


def _rows(connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    marks = ",".join("?" * len(keys))
    yield from connection.execute(f"SELECT key, row, checksum FROM scores WHERE key IN ({marks})", keys)


def sound(rows: Iterable[tuple[bytes, bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Of rows (key, row, checksum) those that are what was once written, without their checksum."""
    for key, row, check in rows:
        if isinstance(row, bytes) and check == checksum(key, row):
            yield key, row


def _source_number(connection: sqlite3.Connection, source: SourceIdentity) -> int:
    named = (source.digest, source.distribution, source.name, source.version)
    connection.execute("INSERT OR IGNORE INTO sources (digest, distribution, name, version) VALUES (?, ?, ?, ?)", named)
    (number,) = connection.execute("SELECT id FROM sources WHERE digest = ?", (source.digest,)).fetchone()
    return int(number)


def _batches(keys: Sequence[bytes]) -> Iterator[list[bytes]]:
    rest = iter(keys)
    while some := list(islice(rest, _KEYS_PER_QUERY)):
        yield some
