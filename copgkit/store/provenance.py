"""What a run must say of itself: versions, hashes and the machine. No names of people or hosts, no environment."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("copgkit", "torch", "transformers", "accelerate", "datasets", "evaluate", "numpy", "pydantic", "pluggy")


def installed_versions() -> dict[str, str]:
    """Versions of copgkit, Python and the libraries that numbers depend on; what is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def machine() -> dict[str, str | int]:
    """Kind of processor and system, and how many cores there are."""
    return {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count() or 1}


def file_hash(path: Path) -> str:
    """sha256 of a file's content; of a folder, sha256 over the names and hashes of its files, in order."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()} {file_hash(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
