"""The layers "user", "mount", "pid", "net" and "ipc": a world of its own, made once around a zygote.

Inside there is a root of a few read-only folders and nothing else (no /proc, no /etc, no home), a network without
interfaces, and no process but the zygote and its children. An ordinary user makes a user namespace to be allowed the
rest; root builds the private root while it still may read the interpreter, then becomes the slot's user and does as
an ordinary user does. Each child gets a process namespace and a tmpfs of its own on top.
"""

from __future__ import annotations

import os
from typing import NoReturn

from .kernel import Call, syscall
from .private_root import build_root, mounting_scratch
from .privileges import become_user, dying_with_parent, traceable
from .settings import Settings

_FLAGS = {"user": 0x10000000, "mount": 0x00020000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x08000000 | 0x04000000}


def enclose(settings: Settings, control_fd: int) -> None:
    """Put this process, or the child it goes on as, into new namespaces, and become the slot's user.

    control_fd: a descriptor that only the one who goes on may keep.
    """
    flags = sum(_FLAGS[layer] for layer in settings.layers if layer in _FLAGS)
    process = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY) if "user" in settings.layers else None
    if settings.uid is not None:
        if "mount" in settings.layers:
            syscall("unshare", _FLAGS["mount"])
            build_root(settings)
        become_user(settings.uid)
        traceable(True)()  # or /proc/self/uid_map would belong to root
    uid, gid = os.getuid(), os.getgid()
    if flags:
        syscall("unshare", flags)
    if process is not None:
        _keep_ids(process, uid, gid)
        os.close(process)
    if "mount" in settings.layers and settings.uid is None:
        build_root(settings)
    if "pid" in settings.layers:
        _go_on_as_first_process(control_fd)


class ProcessNamespaces:
    """Gives each child that is forked a process namespace of its own, in which it is process 1."""

    def __init__(self) -> None:
        self._leave = Call("unshare", _FLAGS["pid"])
        self._return = Call("setns", os.pidfd_open(os.getpid()), _FLAGS["pid"])

    def fork(self) -> int:
        """As os.fork."""
        self._leave()
        pid = os.fork()
        if pid:
            self._return()
        return pid


def own_scratch(settings: Settings) -> tuple[Call, Call]:
    """Have a mount namespace, and in it a tmpfs that is gone when the child is."""
    return Call("unshare", _FLAGS["mount"]), mounting_scratch(settings.disk_mb)


def _keep_ids(process: int, uid: int, gid: int) -> None:
    """Be in the user namespace who one is outside; nobody else exists there."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        descriptor = os.open(name, os.O_WRONLY, dir_fd=process)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def _go_on_as_first_process(control_fd: int) -> None:
    """Fork into the process namespace; the one outside only waits."""
    pid = os.fork()
    if pid:
        _wait_for(pid, control_fd)
    dying_with_parent()()


def _wait_for(pid: int, control_fd: int) -> NoReturn:
    os.close(control_fd)
    os.waitpid(pid, 0)
    os._exit(0)
