"""Looking into a score store, and taking out what is no longer wanted."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from copgkit.store.score_rows import unpack, unpack_log_probs
from copgkit.store.scores import ScoreStore, sound

_ROWS_PER_QUERY = 1000


@dataclass(frozen=True)
class StoredSource:
    """One source, or reference, as the store knows it: another version, option or line of code makes another one.

    digest: the start of the hash that stands for all of it. rows: how many completions (or groups, of a reference or a
    source that scores whole groups). bytes: of keys and what is kept under them, without the file's own overhead.
    """

    digest: str
    distribution: str
    name: str
    version: str
    rows: int
    bytes: int
    oldest: datetime
    newest: datetime


def stored_sources(store: ScoreStore) -> list[StoredSource]:
    """Every source that has scores in the store, by name, the newest first."""

    def work(connection: sqlite3.Connection) -> list[StoredSource]:
        rows = connection.execute(
            "SELECT hex(digest), distribution, name, version, count(*), sum(length(key) + length(row)), min(written),"
            " max(written) FROM scores JOIN sources ON source = id GROUP BY id ORDER BY name, max(written) DESC"
        )
        return [
            StoredSource(digest[:12].lower(), distribution, name, version, count, size, _when(oldest), _when(newest))
            for digest, distribution, name, version, count, size, oldest, newest in rows
        ]

    return store.file.attempt(work, [])


def exported(store: ScoreStore, name: str | None = None) -> Iterator[dict[str, Any]]:
    """Every undamaged row, or those of the sources of one name: {"key", "source", "distribution", "version", "digest",
    "written", "scores": [{"value", "notes"}]}. Keys and digests in hex; a value is null for an abstention. The rows of
    a reference have "log_probs" instead of "scores": a number for each completion of the group."""
    after = b""
    while rows := _page(store, after, name):
        for key, row, check, digest, distribution, source, version, written in rows:
            for _, whole in sound([(key, row, check)]):
                yield {
                    "key": key.hex(),
                    "source": source,
                    "distribution": distribution,
                    "version": version,
                    "digest": digest[:12].lower(),
                    "written": _when(written).isoformat(),
                    **_content(whole),
                }
        after = rows[-1][0]


def prune(
    store: ScoreStore,
    name: str | None = None,
    before: datetime | None = None,
    keep: Collection[bytes] = (),
) -> int:
    """Removes scores and gives how many: of the sources of this name, written before then, and not of the sources with
    these digests; what is not given excludes nothing. The file gives its room back."""

    def work(connection: sqlite3.Connection) -> int:
        found = connection.execute("SELECT id, digest FROM sources WHERE name = coalesce(?, name)", (name,))
        numbers = [number for number, digest in found if digest not in keep]
        limit = before.timestamp() if before else float("inf")
        removed = connection.executemany(
            "DELETE FROM scores WHERE source = ? AND written < ?", [(number, limit) for number in numbers]
        ).rowcount
        connection.execute("DELETE FROM sources WHERE id NOT IN (SELECT source FROM scores)")
        return removed

    removed = store.file.attempt(work, 0)
    store.file.attempt(lambda connection: connection.execute("VACUUM"), None)
    store.file.attempt(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(), None)
    return removed


def _content(row: bytes) -> dict[str, Any]:
    log_probs = unpack_log_probs(row)
    if log_probs is not None:
        return {"log_probs": list(log_probs)}
    return {"scores": [{"value": score.value, "notes": dict(score.notes)} for score in unpack(row) or ()]}


def _page(store: ScoreStore, after: bytes, name: str | None) -> list[Any]:
    """The next rows behind a key, in the order of the keys."""

    def work(connection: sqlite3.Connection) -> list[Any]:
        return connection.execute(
            "SELECT key, row, checksum, hex(digest), distribution, name, version, written FROM scores JOIN sources"
            " ON source = id WHERE key > ? AND name = coalesce(?, name) ORDER BY key LIMIT ?",
            (after, name, _ROWS_PER_QUERY),
        ).fetchall()

    return store.file.attempt(work, [])


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
