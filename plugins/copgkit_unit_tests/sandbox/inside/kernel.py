"""System calls that Python's library does not offer, by number, through ctypes. Linux only, x86-64 and 64-bit ARM."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

MACHINES = ("x86_64", "aarch64")

_LIBC = ctypes.CDLL(None, use_errno=True)

# Number on x86-64, number on 64-bit ARM (which is that of every newer machine).
_NUMBERS = {
    "capset": (126, 91),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "seccomp": (317, 277),
    "setns": (308, 268),
    "umount2": (166, 39),
    "unshare": (272, 97),
}


@cache
def machine() -> str:
    """The machine's name as in MACHINES. Raises OSError on any other: its numbers are not known here."""
    name = os.uname().machine
    if name not in MACHINES:
        raise OSError(f"no system call numbers for a machine of kind '{name}'")
    return name


class Call:
    """A system call laid out beforehand, so that a child, where every step costs, has nothing to do but make it."""

    def __init__(self, name: str, *args: Any) -> None:
        """Arguments are integers, bytes, ctypes objects or None. Raises OSError on an unknown machine."""
        self._name = name
        number = _NUMBERS[name][MACHINES.index(machine())]
        self._args = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in (number, *args)]

    def __call__(self) -> int:
        """Make it. Raises OSError named after it."""
        result = _LIBC.syscall(*self._args)
        if result < 0:
            raise _last_error(self._name)
        return int(result)


def syscall(name: str, *args: Any) -> int:
    """Make a system call at once. Raises OSError named after it."""
    return Call(name, *args)()


def limit_arenas() -> None:
    """Let malloc keep one arena: each further one reserves 64 MB of the address space that RLIMIT_AS counts."""
    arena_max = -8
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(arena_max, 1)


def _last_error(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")
