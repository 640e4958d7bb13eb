"""The layer "filter": an allow-list of system calls, as a program the kernel runs before each call.

A call that is listed passes. Seven more pass for some values of one argument: threads but not processes, signals to
oneself, harmless `fcntl`, `ioctl` and `prctl`. Everything else fails with EPERM, as if the right were missing, so that
hostile code gets an ordinary exception; `clone3`, whose flags lie in memory where no filter sees them, with ENOSYS, so
that the C library falls back to `clone`. A call of another machine's convention kills the process.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from functools import cache

from .kernel import machine, syscall
from .syscall_table import numbers

_SET_MODE_FILTER = 1
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000

# Instructions of classic BPF, and where the call's number, machine and arguments lie.
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16

_AUDIT_MACHINE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # numbers of the x32 convention, which shares x86-64's machine

_CLONE, _CLONE3, _CLONE_THREAD = {"x86_64": 56, "aarch64": 220}, 435, 0x00010000

# Calls that pass if one argument (counted from 0) has one of the values. The kernel reads 32 bits of each of them.
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, its size, bytes to read, flags
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)  # copies, flags, locks, size of a pipe; no owner, no signal
_PRCTL = (15, 16, 0x53564D41)  # names of threads and of memory
_BY_ARGUMENT = (
    ({"x86_64": 16, "aarch64": 29}, 1, _IOCTL),
    ({"x86_64": 72, "aarch64": 25}, 1, _FCNTL),
    ({"x86_64": 157, "aarch64": 167}, 0, _PRCTL),
    ({"x86_64": 302, "aarch64": 261}, 0, (0,)),  # prlimit64: its own limits
)
_TO_ITSELF = ({"x86_64": 62, "aarch64": 129}, {"x86_64": 234, "aarch64": 131})  # kill, tgkill


def filter_calls(own_pid: int) -> None:
    """Restrict this process for good. It must have no_new_privs.

    own_pid: the process id that signals may be sent to.
    """
    program = compiled(machine(), own_pid)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    syscall("seccomp", _SET_MODE_FILTER, 0, header)


def compiled(machine_name: str, own_pid: int) -> bytes:
    """The filter program."""
    to_itself = [_if_argument(number[machine_name], 0, (own_pid,)) for number in _TO_ITSELF]
    return _fixed_part(machine_name) + b"".join(to_itself) + _instruction(_RETURN, _refusal(errno.EPERM))


def checked_numbers(machine_name: str) -> list[int]:
    """The calls that pass for some arguments only."""
    checked = [_CLONE, *_TO_ITSELF, *(number for number, _, _ in _BY_ARGUMENT)]
    return [number[machine_name] for number in checked]


@cache
def _fixed_part(machine_name: str) -> bytes:
    """All but what depends on the process; made once, in the zygote."""
    parts = [
        _instruction(_LOAD, _MACHINE),
        _instruction(_JUMP_IF_EQUAL, _AUDIT_MACHINE[machine_name], 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_JUMP_IF_AT_LEAST, _X32, 0, 1),
        _instruction(_RETURN, _KILL),
        *(_if_number(number, _ALLOW) for number in numbers(machine_name).values()),
        _if_number(_CLONE3, _refusal(errno.ENOSYS)),
        _if_thread(_CLONE[machine_name]),
        *(_if_argument(number[machine_name], place, values) for number, place, values in _BY_ARGUMENT),
    ]
    return b"".join(parts)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refusal(number: int) -> int:
    return _REFUSE | number


def _if_number(number: int, action: int) -> bytes:
    return _instruction(_JUMP_IF_EQUAL, number, 0, 1) + _instruction(_RETURN, action)


def _if_argument(number: int, place: int, values: tuple[int, ...]) -> bytes:
    """For this call: allowed if the argument is one of the values, else refused. Other calls fall through."""
    tests = b"".join(_if_number(value, _ALLOW) for value in values)
    return _for_number(number, _instruction(_LOAD, _ARGUMENTS + 8 * place) + tests)


def _if_thread(number: int) -> bytes:
    """For `clone`: allowed if it makes a thread of this process."""
    test = _instruction(_JUMP_IF_ANY_BIT, _CLONE_THREAD, 0, 1) + _instruction(_RETURN, _ALLOW)
    return _for_number(number, _instruction(_LOAD, _ARGUMENTS) + test)


def _for_number(number: int, body: bytes) -> bytes:
    whole = body + _instruction(_RETURN, _refusal(errno.EPERM))
    return _instruction(_JUMP_IF_EQUAL, number, 0, len(whole) // 8) + whole
