"""Giving up, for good, every right beyond an ordinary process's own."""

from __future__ import annotations

import os
import signal
import struct

from .kernel import prctl, syscall

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522


def become_user(uid: int) -> None:
    """Root turns into a user of the slot's own, in no group but its own."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def die_with_parent() -> None:
    """Be killed when the parent ends. A change of user forgets this, so it comes after one."""
    prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal.SIGKILL)


def set_traceable(traceable: bool) -> None:
    """Whether processes of the same user may read this one's memory and `/proc` entries."""
    prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, int(traceable))


def drop_privileges() -> None:
    """No capability of any kind, and no way to a new one."""
    prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)
    syscall("capset", struct.pack("=II", _CAPABILITY_VERSION_3, 0), bytes(24))
