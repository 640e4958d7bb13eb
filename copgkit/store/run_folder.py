"""The folder of one run. Files are written whole or not at all; an earlier run is never overwritten."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from copgkit.errors import CopgkitError


@dataclass(frozen=True)
class RunFolder:
    """Where the files of a run are.

    recipe.yaml as given · resolved.yaml with every default · run.json: provenance · groups/: scored groups ·
    metrics.jsonl · samples.jsonl · model/ · report.html
    """

    path: Path

    @classmethod
    def create(cls, wanted: Path) -> RunFolder:
        """Makes the folder, or the next free name (`tldr-2`) if it already holds something."""
        for number in count(1):
            path = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
            if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                break
        try:
            (path / "groups").mkdir(parents=True)
        except OSError as fault:
            raise CopgkitError(f"{path}: the run folder cannot be made ({fault.strerror}). Choose --output.") from fault
        return cls(path)

    @property
    def groups(self) -> Path:
        return self.path / "groups"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

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
        """The recipe as it was given."""
        write_whole(self.path / "recipe.yaml", text)

    def write_resolved(self, text: str) -> None:
        """The recipe with every default and override."""
        write_whole(self.path / "resolved.yaml", text)

    def write_run_json(self, record: Mapping[str, Any]) -> None:
        """What ran: versions, hashes, seed, machine."""
        write_whole(self.path / "run.json", json.dumps(record, indent=2, allow_nan=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that a reader, or a run after a crash, sees the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
