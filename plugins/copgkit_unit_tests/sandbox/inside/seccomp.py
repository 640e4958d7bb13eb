"""The layer "filter": an allow-list of system calls, as a program the kernel runs before each call.

A call that is listed passes. Seven more pass for some values of one argument: threads but not processes, signals to
oneself, harmless `fcntl`, `ioctl` and `prctl`. Everything else fails with EPERM, as if the right were missing, so that
hostile code gets an ordinary exception; `clone3`, whose flags lie in memory where no filter sees them, with ENOSYS, so
that the C library falls back to `clone`. A call of another machine's convention kills the process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from .kernel import Call, machine
from .syscall_table import numbers

_SET_MODE_FILTER = 1
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000

# Instructions of classic BPF, and where the call's number, machine and arguments lie.
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16

_AUDIT_MACHINE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # numbers of the x32 convention, which shares x86-64's machine

_CLONE, _CLONE3, _CLONE_THREAD = {"x86_64": 56, "aarch64": 220}, 435, 0x00010000
_OWN_PID = 0x7E57C0DE  # stands in the program for a process id that is not known yet

# Calls that pass if one argument (counted from 0) has one of the values. The kernel reads 32 bits of each of them.
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, its size, bytes to read, flags
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)  # copies, flags, locks, size of a pipe; no owner, no signal
_PRCTL = (15, 16, 0x53564D41)  # names of threads and of memory
_BY_ARGUMENT = (
    ({"x86_64": 16, "aarch64": 29}, 1, _IOCTL),
    ({"x86_64": 72, "aarch64": 25}, 1, _FCNTL),
    ({"x86_64": 157, "aarch64": 167}, 0, _PRCTL),
    ({"x86_64": 302, "aarch64": 261}, 0, (0,)),  # prlimit64: its own limits
    ({"x86_64": 62, "aarch64": 129}, 0, (_OWN_PID,)),  # kill
    ({"x86_64": 234, "aarch64": 131}, 0, (_OWN_PID,)),  # tgkill
)

_VALUE = struct.Struct("=I")
_LINEAR = 6  # so few numbers are compared one after the other


class Filter:
    """The filter as the kernel reads it. Make it before forking the process that it is for."""

    def __init__(self) -> None:
        code = program(machine())
        self._code = ctypes.create_string_buffer(code, len(code))
        values = range(4, len(code), 8)  # where the value of each instruction lies
        self._own_pid_at = [place for place in values if code[place : place + 4] == _VALUE.pack(_OWN_PID)]
        header = struct.pack("HP", len(code) // 8, ctypes.addressof(self._code))
        self._restrict = Call("seccomp", _SET_MODE_FILTER, 0, header)

    def apply(self) -> None:
        """Restrict this process for good, signals to others included. It must have no_new_privs."""
        for place in self._own_pid_at:
            _VALUE.pack_into(self._code, place, os.getpid())
        self._restrict()


def checked_numbers(machine_name: str) -> list[int]:
    """The calls that pass for some arguments only."""
    return [number[machine_name] for number in (_CLONE, *(number for number, _, _ in _BY_ARGUMENT))]


def program(machine_name: str) -> bytes:
    """The filter program, for a process whose id is `_OWN_PID`."""
    bodies = dict.fromkeys(numbers(machine_name).values(), _instruction(_RETURN, _ALLOW))
    bodies[_CLONE3] = _instruction(_RETURN, _refusal(errno.ENOSYS))
    bodies[_CLONE[machine_name]] = _for_threads()
    bodies |= {number[machine_name]: _for_values(place, values) for number, place, values in _BY_ARGUMENT}
    return b"".join(
        [
            _instruction(_LOAD, _MACHINE),
            _instruction(_JUMP_IF_EQUAL, _AUDIT_MACHINE[machine_name], 1, 0),
            _instruction(_RETURN, _KILL),
            _instruction(_LOAD, _NUMBER),
            _instruction(_JUMP_IF_AT_LEAST, _X32, 0, 1),
            _instruction(_RETURN, _KILL),
            _search(sorted(bodies.items())),
        ]
    )


def _search(bodies: list[tuple[int, bytes]]) -> bytes:
    """Find the call's number by halving, and do what stands there; refuse what is not found.

    The kernel walks the program once for every number there is, each time a filter is set: a list would cost a child a
    tenth of its time.
    """
    if len(bodies) <= _LINEAR:
        tests = [_instruction(_JUMP_IF_EQUAL, number, 0, len(body) // 8) + body for number, body in bodies]
        return b"".join(tests) + _instruction(_RETURN, _refusal(errno.EPERM))
    middle = len(bodies) // 2
    lower = _search(bodies[:middle])
    return _instruction(_JUMP_IF_AT_LEAST, bodies[middle][0], len(lower) // 8, 0) + lower + _search(bodies[middle:])


def _for_threads() -> bytes:
    """Allowed if it makes a thread of this process."""
    test = _instruction(_JUMP_IF_ANY_BIT, _CLONE_THREAD, 0, 1) + _instruction(_RETURN, _ALLOW)
    return _instruction(_LOAD, _ARGUMENTS) + test + _instruction(_RETURN, _refusal(errno.EPERM))


def _for_values(place: int, values: tuple[int, ...]) -> bytes:
    """Allowed if the argument is one of the values."""
    tests = [_instruction(_JUMP_IF_EQUAL, value, 0, 1) + _instruction(_RETURN, _ALLOW) for value in values]
    load = _instruction(_LOAD, _ARGUMENTS + 8 * place)
    return load + b"".join(tests) + _instruction(_RETURN, _refusal(errno.EPERM))


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)  # jumps of more than 255 raise struct.error


def _refusal(number: int) -> int:
    return _REFUSE | number
