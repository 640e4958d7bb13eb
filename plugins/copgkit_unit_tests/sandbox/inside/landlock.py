"""The layer "landlock": the kernel lets this process read the interpreter, write one folder, and nothing else.

Landlock does not watch over changes of metadata (mode, owner, times), UDP, or Unix sockets with a path: the system
call filter refuses the calls these need. Before ABI 3 (Linux 6.2) it does not watch over truncation either, which is
why the profile `container`, where Landlock alone guards the files, asks for ABI 3.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from .kernel import Call, syscall

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # ABI -> how many rights there are; the last holds from there on
_READ = _READ_FILE | _READ_DIR
_OWN = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER | _TRUNCATE
_DEVICE = _READ_FILE | _WRITE_FILE
_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract sockets, signals


def abi() -> int:
    """The kernel's version of Landlock. Raises OSError where there is none."""
    return syscall("landlock_create_ruleset", None, 0, _CREATE_RULESET_VERSION)


def ruleset(readable: Iterable[str], own: str, devices: Iterable[str] = ()) -> int:
    """A descriptor of the rules: what may be read, the folder that may be written and all that is mounted below it."""
    version = abi()
    handled = (1 << _FILE_RIGHTS[min(version, 5)]) - 1
    rules = _new_ruleset(version, handled)
    for path in readable:
        _allow(rules, path, _READ & handled)
    for path in devices:
        _allow(rules, path, _DEVICE & handled)
    _allow(rules, own, _OWN & handled)
    return rules


def confining(rules: int) -> Call:
    """Restrict this process, and what it may yet start, for good. It must have no_new_privs."""
    return Call("landlock_restrict_self", rules, 0)


def _new_ruleset(version: int, handled: int) -> int:
    """A descriptor of an empty set: everything handled is refused, file rights, TCP, and scopes as far as known."""
    fields = [handled] + [_TCP] * (version >= 4) + [_SCOPES] * (version >= 6)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    return syscall("landlock_create_ruleset", attributes, len(attributes), 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        syscall("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
