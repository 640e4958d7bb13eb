"""The socket between a zygote and its supervisor: requests and replies in turn, with file descriptors beside them.

The first message is the settings, and its reply what is wrong, if anything. Then come only numbers, laid out here:
a zygote that did more with a message would touch more of the memory that its children share.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Sequence

from .plain import COUNT

ENDING = struct.Struct("=id")  # exit status (minus the signal's number if by a signal), processor seconds
SPAWN = 0  # a request that names no child asks for one

_PART = 256  # bytes read at once; but for the settings, more than any message has
_DESCRIPTORS = 2
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_ANCILLARY_BYTES = socket.CMSG_SPACE(4 * _DESCRIPTORS)


class Control:
    """One end. No hostile code ever holds the other: a child closes it before anything else."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, content: bytes, descriptors: Sequence[int] = ()) -> None:
        """Write one message."""
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        if self._socket.sendmsg([COUNT.pack(len(content)), content], beside) != COUNT.size + len(content):
            raise ConnectionError("a control message was cut")

    def receive(self) -> tuple[bytes, Sequence[int]]:
        """The next message. Raises EOFError when the other end is gone."""
        content, beside, _, _ = self._socket.recvmsg(_PART, _ANCILLARY_BYTES, _CLOSE_ON_EXEC)
        while not _is_whole(content):
            part = self._socket.recv(_PART)
            if not part:
                raise EOFError
            content += part
        return content[COUNT.size :], array("i", beside[0][2]) if beside else ()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _is_whole(content: bytes) -> bool:
    return len(content) >= COUNT.size and len(content) - COUNT.size >= COUNT.unpack_from(content)[0]


def request(child: int, dead: Sequence[int] = ()) -> bytes:
    """The end of a child, or a new one (SPAWN); and who is dead already, to be buried on the way."""
    return array("i", [child, *dead]).tobytes()


def numbers(content: bytes) -> array[int]:
    """The process ids of a request."""
    return array("i", content)
