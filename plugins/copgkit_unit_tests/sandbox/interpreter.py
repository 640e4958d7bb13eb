"""What of the host's files a sandboxed interpreter needs, and nothing else of them."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from .users import is_open_to_all

_SYSTEM = ("/usr", "/lib", "/lib64")  # shared libraries
_NOT_NEEDED = ("site-packages", "test", "tests", "idlelib", "ensurepip", "lib2to3", "tkinter", "config-*")


def bare_interpreter(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of `inside/` with the standard library alone.

    The interpreter is the one that a virtual environment was made from: it needs no settings, and looks at none.
    """
    interpreter = getattr(sys, "_base_executable", "") or sys.executable
    start = f"import sys; sys.path.append(sys.argv[1]); import {module} as m; sys.path.remove(sys.argv[1]); m.main()"
    return [interpreter, "-I", "-S", "-B", "-c", start, str(Path(__file__).parent), *arguments]


def standard_library() -> str:
    """The folder of the standard library, without links in its path."""
    return str(Path(sysconfig.get_path("stdlib")).resolve())


def library_for_everyone(folder: str) -> str:
    """A standard library that any user may read: the interpreter's own, or a copy made in `folder`.

    A Python in root's home cannot be imported from any more once root has become somebody else, and where there are no
    mounts it cannot be bound elsewhere either.
    """
    original = Path(standard_library())
    if is_open_to_all(original):
        return str(original)
    copy = Path(folder) / "library"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns(*_NOT_NEEDED), copy_function=shutil.copyfile)
    for place in (copy, *copy.rglob("*")):
        place.chmod(0o755 if place.is_dir() else 0o644)
    return str(copy)


def readable_folders(library: str, extra_paths: Sequence[str] = ()) -> tuple[str, ...]:
    """Folders a child may read: shared libraries, the standard library, extra libraries. None lies in another."""
    own = Path(sys.base_prefix).resolve() / "lib"  # an interpreter may bring its own shared libraries
    brings_libraries = library == standard_library() and any(own.glob("*.so*"))
    found: list[str] = []
    for folder in (*_SYSTEM, *([str(own)] if brings_libraries else []), library, *extra_paths):
        if Path(folder).is_dir() and not any(Path(folder).is_relative_to(other) for other in found):
            found.append(folder)
    return tuple(found)
