"""What of the host's files a sandboxed interpreter needs, and nothing else of them."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

_SYSTEM = ("/usr", "/lib", "/lib64")  # shared libraries


def executable() -> str:
    """The interpreter to start: the one a virtual environment was made from, which needs no environment of its own."""
    return getattr(sys, "_base_executable", "") or sys.executable


def readable_folders(extra_paths: Sequence[Path] = ()) -> tuple[str, ...]:
    """Folders a child may read: shared libraries, the standard library, extra libraries. Absolute, without links."""
    wanted = [*_SYSTEM, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    wanted += [str(Path(sys.base_prefix) / "lib")] if sysconfig.get_config_var("Py_ENABLE_SHARED") else []
    wanted += [str(path.resolve()) for path in extra_paths]
    return tuple(dict.fromkeys(folder for folder in wanted if Path(folder).is_dir()))
