"""The one folder an execution may write in, where it is a folder of the host's and not a tmpfs of its own."""

from __future__ import annotations

import os

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Folders:
    """Empty folders below one, each lent to one execution at a time.

    Emptied, a folder serves again: on some disks making and removing one takes longer than all else together.
    """

    def __init__(self, parent: str) -> None:
        self._parent = parent
        self._made = 0
        self._free: list[str] = []

    def lend(self) -> str:
        """An empty folder."""
        if self._free:
            return self._free.pop()
        self._made += 1
        folder = os.path.join(self._parent, f"execution-{self._made}")
        os.mkdir(folder, 0o700)
        return folder

    def take_back(self, folder: str) -> None:
        """Empty a folder after use."""
        os.chmod(folder, 0o700)
        empty_folder(folder)
        self._free.append(folder)


def remove_folder(folder: str) -> None:
    """Remove a folder with all that hostile code put there."""
    empty_folder(folder)
    os.rmdir(folder)


def empty_folder(folder: str) -> None:
    """Remove what hostile code put into a folder: of any depth, with any names, never following a link.

    Walks with a descriptor of the folder it is in, so that neither a path nor a recursion grows with the depth.
    """
    here = os.open(folder, _FOLDER)
    names: list[str] = []
    while (inner := _empty_until_full_folder(here)) is not None or names:
        if inner is not None:
            os.chmod(inner, 0o700, dir_fd=here)
            there = os.open(inner, _FOLDER, dir_fd=here)
            names.append(inner)
        else:
            there = os.open("..", _FOLDER, dir_fd=here)
            os.rmdir(names.pop(), dir_fd=there)
        os.close(here)
        here = there
    os.close(here)


def _empty_until_full_folder(here: int) -> str | None:
    """Remove what an open folder holds, up to the first folder that is not empty: its name, or None if all is gone."""
    with os.scandir(here) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=here)
                continue
            try:
                os.rmdir(entry.name, dir_fd=here)
            except OSError:
                return entry.name
    return None
