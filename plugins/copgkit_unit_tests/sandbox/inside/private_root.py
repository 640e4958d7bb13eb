"""The layer "mount": a root that holds the interpreter's folders, read-only, and an empty folder to work in."""

from __future__ import annotations

import os
import struct

from .kernel import Call, syscall
from .settings import Settings

SCRATCH_HOLDER = "/scratch"  # not /tmp, below which a library folder may lie
SCRATCH = SCRATCH_HOLDER + "/own"  # where each child mounts its own; a rule about the holder is one about them all
DEVICES = ("/dev/null",)

_READ_ONLY, _NOSUID, _NODEV, _NOEXEC, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 0x1000, 0x4000, 0x40000
_DETACH = 2
_ATTRIBUTE_READ_ONLY, _ATTRIBUTE_NOSUID, _ATTRIBUTE_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000


def build_root(settings: Settings) -> None:
    """Make a root on the slot's folder, with the readable folders bound into it, and move there for good."""
    root = settings.scratch
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID, "size=1m,nr_inodes=4096,mode=755")
    for folder in settings.readable:
        _bind_folder(folder, root)
    _hide(settings.library + "/site-packages", settings)
    os.makedirs(root + SCRATCH)
    os.mkdir(root + "/dev")
    for device in DEVICES:
        _bind_device(device, root)
    _move_into(root)
    _set_attributes("/", _ATTRIBUTE_READ_ONLY | _ATTRIBUTE_NOSUID, recursive=False)


def mounting_scratch(megabytes: int) -> Call:
    """A fresh tmpfs to work in, limited in size and in number of files."""
    options = f"size={megabytes}m,nr_inodes={64 * megabytes},mode=700"
    return _mounting("tmpfs", SCRATCH, "tmpfs", _NOSUID | _NODEV | _NOEXEC, options)


def _bind_folder(folder: str, root: str) -> None:
    if os.path.islink(folder):
        os.symlink(os.readlink(folder), root + folder)
        return
    os.makedirs(root + folder, exist_ok=True)
    _mount(folder, root + folder, None, _BIND | _RECURSIVE)
    _set_attributes(root + folder, _ATTRIBUTE_READ_ONLY | _ATTRIBUTE_NOSUID | _ATTRIBUTE_NODEV, recursive=True)


def _hide(folder: str, settings: Settings) -> None:
    """What somebody installed is no part of the interpreter, unless it was asked for."""
    root = settings.scratch
    if os.path.isdir(root + folder) and not any(path.startswith(folder) for path in settings.extra_paths):
        _mount("tmpfs", root + folder, "tmpfs", _READ_ONLY | _NOSUID | _NODEV | _NOEXEC, "size=4k,nr_inodes=1")


def _bind_device(device: str, root: str) -> None:
    os.close(os.open(root + device, os.O_CREAT | os.O_WRONLY))
    _mount(device, root + device, None, _BIND)


def _move_into(root: str) -> None:
    """Make `root` the root and let go of the old one."""
    os.chdir(root)
    syscall("pivot_root", b".", b".")
    syscall("umount2", b".", _DETACH)
    os.chdir("/")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    try:
        _mounting(source, target, kind, flags, options)()
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from error


def _mounting(source: str, target: str, kind: str | None, flags: int, options: str) -> Call:
    return Call("mount", source.encode(), os.fsencode(target), kind and kind.encode(), flags, options.encode())


def _set_attributes(target: str, attributes: int, *, recursive: bool) -> None:
    wanted = struct.pack("=4Q", attributes, 0, 0, 0)
    syscall("mount_setattr", _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE * recursive, wanted, len(wanted))
