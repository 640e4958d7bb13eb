"""Which folder a run works in: a new one, or the one in which it was broken off.

A folder that already holds this very run is gone on with; one in which it was finished is left as it is. A finished run
of another recipe is never overwritten: the next free name is taken (`tldr-2`). An unfinished one of another recipe is
refused, since it may be meant.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from copgkit.errors import CopgkitError
from copgkit.runner.identity import FILE, Identity, differences, elsewhere, hash_of, read_identity, write_identity
from copgkit.store import LOCK_FILE, RunFolder, RunLock, run_names

_SHOWN = 5


@dataclass(frozen=True)
class Opened:
    """A run folder. run: a hash of what runs there. finished: there is nothing left to do. changed: what is other than
    when it was started, which the user has allowed; elsewhere: what is other and costs last digits alone; forced: all
    of both so far."""

    folder: RunFolder
    run: str
    finished: bool = False
    changed: Sequence[str] = ()
    elsewhere: Sequence[str] = ()
    forced: Sequence[str] = ()


def open_folder(wanted: Path, identity: Identity, fresh: bool, force: bool) -> tuple[Opened, RunLock]:
    """The folder, locked. fresh: take the next free name whatever is there. force: go on although something differs.

    Raises CopgkitError where another run works in it, where something differs, and where no folder can be made.
    """
    for path in run_names(wanted):
        if fresh and (path.is_file() or (path.is_dir() and any(path.iterdir()))):
            continue
        if not _is_ours_to_take(path):
            continue
        folder = RunFolder.at(path)
        lock = RunLock.take(path)
        try:
            opened = _opened(folder, identity, force)
        except BaseException:
            lock.release()
            raise
        if opened is not None:
            return opened, lock
        lock.release()
    raise AssertionError("there is always a free name")


def _opened(folder: RunFolder, identity: Identity, force: bool) -> Opened | None:
    """What can be done in a locked folder; None where another run was finished."""
    then = read_identity(folder.path)
    if then is None:
        write_identity(folder.path, identity)
        return Opened(folder, hash_of(identity))
    differs, forced = differences(then, identity), then.get("forced", [])
    if folder.is_finished:
        return None if differs else Opened(folder, hash_of(identity), finished=True)
    if differs and not force:
        raise CopgkitError(
            f"{folder.path}: an unfinished run of something else is in this folder: {_listed(differs)}. Change it back,"
            " start a new run with --fresh, or say --force-resume to go on all the same, which is then no longer"
            " bit-exact."
        )
    folder.remove_drafts()
    digits = elsewhere(then, identity)
    if differs or digits:
        forced = [*forced, *differs, *digits]
        write_identity(folder.path, {**identity, "forced": forced})
    if differs:
        shutil.rmtree(folder.written, ignore_errors=True)  # perhaps another model would write something else
    return Opened(folder, hash_of(identity), changed=differs, elsewhere=digits, forced=forced)


def _is_ours_to_take(path: Path) -> bool:
    """Whether it is free or a run's: what others put into a folder stays alone."""
    if not path.exists():
        return True
    return path.is_dir() and ((path / FILE).exists() or not {file.name for file in path.iterdir()} - {LOCK_FILE})


def _listed(differs: Sequence[str]) -> str:
    more = len(differs) - _SHOWN
    return "; ".join(differs[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
