"""What a run must say of itself: versions, hashes, times and the machine.

Nothing about people: no environment variables, no names of users or hosts, no path above the recipe's folder or the
current one.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

# Those that numbers depend on, and those that read or draw what is shown.
_LIBRARIES = (
    "copgkit", "torch", "transformers", "tokenizers", "accelerate", "datasets", "evaluate", "rouge-score",
    "safetensors", "peft", "numpy", "pyarrow", "pydantic", "pluggy", "matplotlib",
)  # fmt: skip


def collect(recipe: Path, named: Mapping[str, str], seed: int, started: datetime) -> dict[str, Any]:
    """What `run.json` says of any run: recipe, seed, times (UTC), versions, plugins, machine and hashes.

    named: values of the recipe by dotted key; of those that are paths of files or folders that exist, relative to the
    recipe, the hash is taken: data, models, one-file plugins. started: when the run began, with its time zone.
    """
    finished = datetime.now(UTC)
    return {
        "recipe": recipe.name,
        "seed": seed,
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - started).total_seconds(), 1),
        "versions": dict(installed_versions()),
        "plugins": plugin_versions(),
        "machine": machine(),
        "hashes": {"recipe": file_hash(recipe)} | hashes_of(named, recipe.parent),
    }


@cache
def installed_versions() -> Mapping[str, str]:
    """Versions of copgkit, Python and the libraries that numbers depend on; what is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def plugin_versions() -> dict[str, str]:
    """Versions of the distributions that announce copgkit plugins, by name; nothing is imported."""
    owners = [point.dist for point in metadata.entry_points(group="copgkit")]
    return dict(sorted((owner.name, owner.version) for owner in owners if owner is not None))


def machine() -> dict[str, str | int]:
    """Kind of processor and system, how many cores there are, and how much memory, in whole gigabytes."""
    found: dict[str, str | int] = {"system": platform.system(), "architecture": platform.machine()}
    if name := _processor():
        found["processor"] = name
    found["cores"] = os.cpu_count() or 1
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory-gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 10**9)
    return found


def _processor() -> str:
    """The processor's name, which last digits may depend on; empty where the system does not tell."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def file_hash(path: Path) -> str:
    """sha256 of a file's content; of a folder, sha256 over the names and hashes of its files, in order."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {file_hash(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def shown_path(path: Path, folder: Path) -> str:
    """The path as seen from the recipe's folder or the current one; elsewhere its last name, which says no more."""
    resolved = path.resolve()
    for base in (folder.resolve(), Path.cwd()):
        if resolved.is_relative_to(base):
            return resolved.relative_to(base).as_posix()
    return f".../{resolved.name}"


def hashes_of(named: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Hashes of those of the named values that are paths of files or folders that exist, relative to a folder."""
    hashes = {}
    for key, value in named.items():
        path = folder / Path(value).expanduser()
        try:
            there = bool(value) and path.exists()
        except OSError:  # a text that is far too long to be a path
            continue
        if there:
            hashes[f"{key}: {shown_path(path, folder)}"] = file_hash(path)
    return hashes
