"""Which user root becomes in a slot of its own, one that nobody else is, and what of the host that user can reach."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

_UNUSUAL = 1_879_048_192  # 0x70000000: far above what any user directory hands out
_ROOM = 4096  # slots that fit between the first such user and the end of what is mapped


def slot_user(number: int) -> int | None:
    """The user (and group) of a slot. None where there is no choice: not root, or root of a map of few users."""
    if os.geteuid() != 0:
        return None
    mapped = [_mapped("uid"), _mapped("gid")]
    wanted = [_UNUSUAL, *(ids.stop - _ROOM for ids in mapped[0] if len(ids) > 2 * _ROOM)]
    exist = [first for first in wanted if all(any(first in ids for ids in ranges) for ranges in mapped)]
    return exist[0] + number if exist else None


def is_open_to_all(path: Path) -> bool:
    """Whether any user can reach a path: every folder on the way may be entered."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents))


def temporary_folder() -> str | None:
    """Where to make folders that a slot's user can reach; None is the usual place."""
    usual = Path(tempfile.gettempdir()).resolve()
    if slot_user(0) is None or is_open_to_all(usual):
        return None
    return next((place for place in ("/tmp", "/var/tmp") if Path(place).is_dir()), None)


def _mapped(kind: str) -> list[range]:
    """The ids that exist in this process's user namespace."""
    try:
        lines = Path(f"/proc/self/{kind}_map").read_text().split("\n")
    except OSError:
        return [range(1 << 32)]
    rows = [[int(word) for word in line.split()] for line in lines if line]
    return [range(first, first + length) for first, _, length in rows]
