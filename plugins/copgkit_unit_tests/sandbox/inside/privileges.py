"""Giving up, for good, every right beyond an ordinary process's own."""

from __future__ import annotations

import os
import signal
import struct

from .kernel import Call

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522


def become_user(uid: int) -> None:
    """Root turns into a user of the slot's own, in no group but its own."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def dying_with_parent() -> Call:
    """Be killed when the parent ends. A change of user forgets this, so it comes after one."""
    return _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def traceable(allowed: bool) -> Call:
    """Whether processes of the same user may read this one's memory and `/proc` entries."""
    return _prctl(_PR_SET_DUMPABLE, int(allowed))


def gaining_none() -> Call:
    """Never again get a privilege that one does not have."""
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def having_none() -> Call:
    """Give up every capability."""
    return Call("capset", struct.pack("=II", _CAPABILITY_VERSION_3, 0), bytes(24))


def _prctl(option: int, value: int) -> Call:
    return Call("prctl", option, value, 0, 0, 0)
