"""System calls that Python's library does not offer, by number, through ctypes. Linux only, x86-64 and 64-bit ARM."""

from __future__ import annotations

import ctypes
import os
import platform
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
    "seccomp": (317, 277),
    "setns": (308, 268),
    "umount2": (166, 39),
    "unshare": (272, 97),
}


@cache
def machine() -> str:
    """The machine's name as in MACHINES. Raises OSError on any other: its numbers are not known here."""
    name = platform.machine()
    if name not in MACHINES:
        raise OSError(f"no system call numbers for a machine of kind '{name}'")
    return name


def syscall(name: str, *args: Any) -> int:
    """Make a system call. Arguments are integers, bytes, ctypes objects or None. Raises OSError named after it."""
    number = _NUMBERS[name][MACHINES.index(machine())]
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = _LIBC.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        raise _last_error(name)
    return int(result)


def prctl(name: str, option: int, *args: int) -> int:
    """Make a prctl call; `name` is for the error message. Raises OSError."""
    padded = [ctypes.c_ulong(arg) for arg in (*args, 0, 0, 0, 0)[:4]]
    result = _LIBC.prctl(ctypes.c_int(option), *padded)
    if result < 0:
        raise _last_error(name)
    return int(result)


def limit_arenas() -> None:
    """Let malloc keep one arena: each further one reserves 64 MB of the address space that RLIMIT_AS counts."""
    arena_max = -8
    if hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(arena_max, 1)


def _last_error(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")
