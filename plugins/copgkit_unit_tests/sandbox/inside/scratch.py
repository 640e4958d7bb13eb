"""The one folder an execution may write in, where it is a folder of the host's and not a tmpfs of its own."""

from __future__ import annotations

import os

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def make_folder(parent: str, number: int) -> str:
    """A fresh folder for one execution."""
    folder = os.path.join(parent, f"execution-{number}")
    os.mkdir(folder, 0o700)
    return folder


def remove_folder(folder: str) -> None:
    """Remove a folder that hostile code filled: of any depth, with any names, never following a link.

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
    os.rmdir(folder)


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
