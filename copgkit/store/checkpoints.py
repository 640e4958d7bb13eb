"""Checkpoints: folders that are whole or not there.

    checkpoints = Checkpoints(folder, run="a hash of recipe, data and model", warn=print)
    checkpoints.publish(120, write, size)        # write(draft) puts files into the folder `draft`
    newest = checkpoints.newest()                # Path, every byte of it looked at; None

A checkpoint is written under a name that no reader looks at, flushed, described by a manifest with the hash of every
file, and gets its own name by one rename. Older ones leave when a newer one has been read back from its place. One
that is damaged is moved aside before anything of it is used, and the one before takes its place.

Limits: hashes find damage, not malice. What is flushed is as safe as the disk says it is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from copgkit.errors import CopgkitError
from copgkit.store.provenance import file_hash

_MANIFEST = "MANIFEST.json"
_FORMAT = 1
_DRAFT, _OLD, _DAMAGED = ".tmp-", ".old-", ".bad-"
_KEPT = 2
_ROOM_TO_SPARE = 1.1


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in a folder of their own. run: a hash of what they belong to; any_run: take those of
    others too. warn: receives what the user should know. kept: how many stay."""

    folder: Path
    run: str
    warn: Callable[[str], None]
    kept: int = _KEPT
    any_run: bool = False

    def newest(self) -> Path | None:
        """The latest that is whole; later ones that are not are moved aside and told of.

        Raises CopgkitError for one that is whole and belongs to another run.
        """
        for path in reversed(checkpoints_in(self.folder)):
            fault = _fault(path)
            if fault is None:
                self._require_own(path)
                return path
            aside = _free_name(path.with_name(_DAMAGED + path.name))
            path.rename(aside)
            self.warn(f"checkpoint {path.name}: {fault}. It is now {aside.name}, and the one before is used.")
        return None

    def publish(self, step: int, write: Callable[[Path], None], size: int) -> Path:
        """Makes the checkpoint of a step, size bytes large or less, and lets go of the oldest; before, if the disk is
        full with it.

        Whatever `write` raises, and OSError: no half of it is left, and a whole one that was there still is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tidy()
        try:
            return self._published(step, write, size)
        except Exception as fault:
            if not says_full(fault) or not self._has_one_to_spare():
                raise
        self._let_go(checkpoints_in(self.folder)[0])
        return self._published(step, write, size)

    def _published(self, step: int, write: Callable[[Path], None], size: int) -> Path:
        self._require_room(size)
        draft, path = self.folder / f"{_DRAFT}{step}", self.folder / f"step-{step:08d}"
        try:
            draft.mkdir()
            write(draft)
            _describe(draft, step, self.run)
            draft.rename(path)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _flush(self.folder)
        fault = _fault(path)
        if fault is not None:
            raise OSError(f"{path.name} was not written as it should be: {fault}")
        self._rotate()
        return path

    def tidy(self) -> None:
        """Removes what a killed process has begun and not ended: drafts, and old ones on their way out."""
        for prefix in (_DRAFT, _OLD):
            for left in self.folder.glob(f"{prefix}*"):
                shutil.rmtree(left)

    def remove(self) -> None:
        """Lets go of all of them; those that were moved aside stay."""
        self.tidy()
        for path in checkpoints_in(self.folder):
            self._let_go(path)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _has_one_to_spare(self) -> bool:
        """Whether a whole one would be left without the oldest."""
        paths = checkpoints_in(self.folder)
        return len(paths) > 1 and _fault(paths[-1]) is None

    def _rotate(self) -> None:
        for path in checkpoints_in(self.folder)[: -self.kept]:
            self._let_go(path)

    def _let_go(self, path: Path) -> None:
        """Takes its name away first: half of a checkpoint never has the name of a whole one."""
        old = path.with_name(_OLD + path.name)
        path.rename(old)
        shutil.rmtree(old)

    def _require_room(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < size * _ROOM_TO_SPARE:
            raise OSError(errno.ENOSPC, f"{size / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free")

    def _require_own(self, path: Path) -> None:
        run = read_manifest(path)["run"]
        if run != self.run and not self.any_run:
            raise CopgkitError(
                f"{path}: this checkpoint belongs to a run of another recipe, data or model (its hash is {run}, not"
                f" {self.run}). Take it away, or start a new run with --fresh."
            )


def checkpoints_in(folder: Path) -> list[Path]:
    """All that have the name of a whole one, the latest last."""
    return sorted(folder.glob("step-*"))


def read_manifest(path: Path) -> dict[str, Any]:
    """What the manifest of a checkpoint says: {"format", "step", "run", "files": {name: {"sha256", "size"}}}.

    Raises ValueError, naming the difference, for one that is not what was written.
    """
    raw = (path / _MANIFEST).read_bytes()
    content = json.loads(raw)
    if not isinstance(content, dict) or raw != _manifest_bytes({k: v for k, v in content.items() if k != "sha256"}):
        raise ValueError(f"{_MANIFEST} is not what was written (sha256 {hashlib.sha256(raw).hexdigest()})")
    return content


def _describe(draft: Path, step: int, run: str) -> None:
    """Flushes every file, and writes what they should be."""
    files = {}
    for file in sorted(each for each in draft.iterdir()):
        _flush(file)
        files[file.name] = {"sha256": file_hash(file), "size": file.stat().st_size}
    content = _manifest_bytes({"format": _FORMAT, "step": step, "run": run, "files": files})
    (draft / _MANIFEST).write_bytes(content)
    _flush(draft / _MANIFEST)
    _flush(draft)


def _manifest_bytes(content: dict[str, Any]) -> bytes:
    """The manifest with a hash of itself; a flipped bit anywhere makes other bytes of it."""
    own = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**content, "sha256": own}, sort_keys=True, indent=1) + "\n").encode()


def _fault(path: Path) -> str | None:
    """How a checkpoint differs from what was written; None if it does not."""
    try:
        manifest = read_manifest(path)
        if manifest["format"] != _FORMAT:
            return f"its format is {manifest['format']}, and this copgkit reads {_FORMAT}"
        if path.name != f"step-{manifest['step']:08d}":
            return f"it was renamed: it is of step {manifest['step']}"
        return next(_differences(path, manifest["files"]), None)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        return str(fault) if isinstance(fault, ValueError) and _MANIFEST in str(fault) else f"{_MANIFEST}: {fault}"


def _differences(path: Path, files: dict[str, dict[str, Any]]) -> Iterator[str]:
    there = {file.name for file in path.iterdir()} - {_MANIFEST}
    yield from (f"{name} is missing" for name in sorted(files.keys() - there))
    yield from (f"{name} is not one of its files" for name in sorted(there - files.keys()))
    for name, expected in files.items():
        size, digest = (path / name).stat().st_size, file_hash(path / name)
        if (size, digest) != (expected["size"], expected["sha256"]):
            yield (
                f"{name} is damaged: {size} bytes with sha256 {digest}, and {expected['size']} bytes with"
                f" {expected['sha256']} were written"
            )


def says_full(fault: Exception) -> bool:
    """Whether a disk or a quota is. safetensors and torch raise errors of their own, with the system's words."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return getattr(fault, "errno", None) in full or any(os.strerror(number) in str(fault) for number in full)


def _flush(path: Path) -> None:
    """Has the disk keep a file, or the names in a folder."""
    if path.is_dir() and os.name == "nt":
        return  # a folder cannot be opened there, and a rename is kept without it
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free_name(wanted: Path) -> Path:
    return next(
        path
        for number in count(1)
        if not (path := wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")).exists()
    )
