"""The layer "filter": an allow-list of system calls, as programs the kernel runs before each call.

A call that is listed passes. Seven more pass for some values of one argument: threads but not processes, signals to
oneself, harmless `fcntl`, `ioctl` and `prctl`. Everything else fails with EPERM, as if the right were missing, so that
hostile code gets an ordinary exception; `clone3`, whose flags lie in memory where no filter sees them, with ENOSYS, so
that the C library falls back to `clone`. A call of another machine's convention kills the process.

The list is in force in two parts, since a call has to pass every filter that was ever set and children inherit them.
A zygote sets the long part once: the list, and what it takes to fork children and to put up their layers. A child sets
the short one, which takes the latter away. The kernel compiles a filter and walks it for every number there is each
time it is set: for the whole list that costs a child a tenth of its time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from itertools import chain

from .kernel import Call
from .syscall_table import TABLE, ZYGOTE_TABLE, numbers

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
_Condition = tuple[dict[str, int], int, tuple[int, ...]]
_IN_ZYGOTE: tuple[_Condition, ...] = (
    ({"x86_64": 16, "aarch64": 29}, 1, _IOCTL),
    ({"x86_64": 72, "aarch64": 25}, 1, _FCNTL),
    ({"x86_64": 302, "aarch64": 261}, 0, (0,)),  # prlimit64: its own limits
)
_IN_CHILD: tuple[_Condition, ...] = (
    ({"x86_64": 157, "aarch64": 167}, 0, _PRCTL),
    ({"x86_64": 62, "aarch64": 129}, 0, (_OWN_PID,)),  # kill
    ({"x86_64": 234, "aarch64": 131}, 0, (_OWN_PID,)),  # tgkill
)

_VALUE = struct.Struct("=I")
_LINEAR = 6  # so few numbers are compared one after the other


class Filter:
    """A filter as the kernel reads it. Make it before forking the process that it is for."""

    def __init__(self, code: bytes) -> None:
        self._code = ctypes.create_string_buffer(code, len(code))
        values = range(4, len(code), 8)  # where the value of each instruction lies
        self._own_pid_at = [place for place in values if code[place : place + 4] == _VALUE.pack(_OWN_PID)]
        header = struct.pack("HP", len(code) // 8, ctypes.addressof(self._code))
        self._restrict = Call("seccomp", _SET_MODE_FILTER, 0, header)

    def apply(self) -> None:
        """Restrict this process and all that it forks for good. It must have no_new_privs."""
        for place in self._own_pid_at:
            _VALUE.pack_into(self._code, place, os.getpid())
        self._restrict()


def zygote_program(machine_name: str) -> bytes:
    """The long part."""
    may = numbers(TABLE, machine_name).values(), numbers(ZYGOTE_TABLE, machine_name).values()
    bodies = dict.fromkeys(chain(*may), _instruction(_RETURN, _ALLOW))
    bodies[_CLONE3] = _instruction(_RETURN, _refusal(errno.ENOSYS))
    bodies |= {number[machine_name]: _for_values(place, values) for number, place, values in _IN_ZYGOTE}
    return b"".join(
        [
            _instruction(_LOAD, _MACHINE),
            _instruction(_JUMP_IF_EQUAL, _AUDIT_MACHINE[machine_name], 1, 0),
            _instruction(_RETURN, _KILL),
            _instruction(_LOAD, _NUMBER),
            _instruction(_JUMP_IF_AT_LEAST, _X32, 0, 1),
            _instruction(_RETURN, _KILL),
            _search(sorted(bodies.items()), otherwise=_refusal(errno.EPERM)),
        ]
    )


def child_program(machine_name: str) -> bytes:
    """The short part, for a process that has the long one and whose id is `_OWN_PID`."""
    refused = _instruction(_RETURN, _refusal(errno.EPERM))
    bodies = dict.fromkeys(numbers(ZYGOTE_TABLE, machine_name).values(), refused)
    bodies |= {number[machine_name]: _for_values(place, values) for number, place, values in _IN_CHILD}
    bodies[_CLONE[machine_name]] = _for_threads()
    return _instruction(_LOAD, _NUMBER) + _search(sorted(bodies.items()), otherwise=_ALLOW)


def checked_numbers(machine_name: str) -> list[int]:
    """The calls that pass for some arguments only."""
    return [number[machine_name] for number in (_CLONE, *(number for number, _, _ in _IN_ZYGOTE + _IN_CHILD))]


def _search(bodies: list[tuple[int, bytes]], otherwise: int) -> bytes:
    """Find the call's number by halving, and do what stands there; `otherwise` is for one that is not found."""
    if len(bodies) <= _LINEAR:
        tests = [_instruction(_JUMP_IF_EQUAL, number, 0, len(body) // 8) + body for number, body in bodies]
        return b"".join(tests) + _instruction(_RETURN, otherwise)
    middle = len(bodies) // 2
    lower, upper = _search(bodies[:middle], otherwise), _search(bodies[middle:], otherwise)
    return _instruction(_JUMP_IF_AT_LEAST, bodies[middle][0], len(lower) // 8, 0) + lower + upper


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
