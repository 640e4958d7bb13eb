"""The folder of one run. Files are written whole or not at all; an earlier run is never overwritten."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from copgkit.errors import CopgkitError
from copgkit.redaction import redacted, redacted_data


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run are.

    recipe.yaml as given · resolved.yaml with every default · run.json: provenance · groups/: scored groups ·
    metrics.jsonl · timing.jsonl: figures that depend on the clock or on what a store held · samples.jsonl · model/ ·
    report.html · bad-steps/: groups of steps that were not taken. While it is unfinished also
    checkpoints/ · written/: completions that are in no checkpoint yet · scores.sqlite, if the
    recipe wants no store. started.json: what runs.
    """

    path: Path

    @classmethod
    def create(cls, wanted: Path, fresh_name: bool = True) -> RunFolder:
        """Makes the folder. If it already holds something, takes the next free name (`tldr-2`); fresh_name False
        refuses instead. Raises CopgkitError where no folder can be made."""
        for path in run_names(wanted) if fresh_name else [wanted]:
            try:
                if path.is_dir() and any(path.iterdir()):
                    continue
                path.mkdir(parents=True, exist_ok=True)
                (path / "groups").mkdir()
            except FileExistsError:  # a file has this name, or another run has taken it just now
                continue
            except OSError as fault:
                raise CopgkitError(
                    f"{path}: the run folder cannot be made ({fault.strerror}). Choose another with --output."
                ) from fault
            return cls(path)
        raise CopgkitError(f"{wanted}: there is something under this name already. Choose another with --output.")

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        """The folder of this name, made if it is not there. Raises CopgkitError where none can be made."""
        try:
            (path / "groups").mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise CopgkitError(
                f"{path}: the run folder cannot be made ({fault.strerror}). Choose another with --output."
            ) from fault
        return cls(path)

    @property
    def is_finished(self) -> bool:
        """Whether its run has come to its end: run.json is written last."""
        return (self.path / "run.json").exists()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def written(self) -> Path:
        return self.path / "written"

    @property
    def scores(self) -> Path:
        return self.path / "scores.sqlite"

    @property
    def groups(self) -> Path:
        return self.path / "groups"

    @property
    def bad_steps(self) -> Path:
        return self.path / "bad-steps"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        return self.path / "timing.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def write_recipe(self, text: str) -> None:
        """The recipe as it was given, but for secrets."""
        write_whole(self.path / "recipe.yaml", [redacted(text)])

    def write_resolved(self, text: str) -> None:
        """The recipe with every default and override."""
        write_whole(self.path / "resolved.yaml", [text])

    def write_run_json(self, record: Mapping[str, Any]) -> None:
        """What ran: versions, hashes, seed, machine."""
        write_whole(self.path / "run.json", [json.dumps(redacted_data(record), indent=2, allow_nan=False) + "\n"])

    def write_model_card(self, text: str) -> None:
        """What a hub shows beside the weights."""
        write_whole(self.model / "README.md", [redacted(text)])

    def remove_drafts(self) -> None:
        """Removes files that a killed process has begun and not ended."""
        for draft in self.path.rglob(".*.draft"):
            draft.unlink()

    def discard_what_served_going_on(self) -> None:
        """Removes what only an unfinished run needs, but for checkpoints that were moved aside."""
        shutil.rmtree(self.written, ignore_errors=True)
        for file in self.path.glob(f"{self.scores.name}*"):
            file.unlink()

    def discard_if_nothing_was_made(self) -> None:
        """Removes the folder of a run that failed before its first result. Files that others put there stay."""
        if any(made.exists() for made in (self.metrics, self.written, self.scores)) or any(self.groups.iterdir()):
            return
        for name in ("recipe.yaml", "resolved.yaml", "started.json", ".lock"):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else lies there
            self.groups.rmdir()
            self.path.rmdir()


def newest_run(wanted: Path) -> Path | None:
    """The run folder of this name, or with a number behind (`tldr-2`), whose groups were written last; None without
    one that holds groups."""
    candidates = [wanted, *wanted.parent.glob(f"{glob.escape(wanted.name)}-[0-9]*")]
    written = {path: max((file.stat().st_mtime_ns for file in path.glob("groups/*")), default=0) for path in candidates}
    newest = max(candidates, key=lambda path: written[path])
    return newest if written[newest] else None


def write_whole(path: Path, pieces: Iterable[str]) -> None:
    """Writes a file so that a reader, or a run after a crash, sees the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        # newline="" keeps the text as it is on every system: hashes and byte-wise comparisons depend on it.
        with draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def run_names(wanted: Path) -> Iterator[Path]:
    """The wanted path, then the same with -2, -3, ... behind."""
    yield wanted
    named = wanted if wanted.name not in ("", "..") else wanted.resolve()
    for number in count(2):
        yield named.with_name(f"{named.name}-{number}")
