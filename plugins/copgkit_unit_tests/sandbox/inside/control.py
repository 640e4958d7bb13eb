"""The socket between a zygote and its supervisor: requests and replies in turn, with file descriptors beside them."""

from __future__ import annotations

import socket

from .decoding import decode
from .encoding import encode
from .plain import COUNT, Bounds, Plain

_BOUNDS = Bounds(message_bytes=1 << 16)
_DESCRIPTORS = 2
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Control:
    """One end. No hostile code ever holds the other: a child closes it before anything else."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, message: Plain, descriptors: list[int] | None = None) -> None:
        """Write one message."""
        content = encode(message, _BOUNDS)
        sent = socket.send_fds(self._socket, [COUNT.pack(len(content)) + content], descriptors or [])
        if sent != COUNT.size + len(content):
            raise ConnectionError("a control message was cut")

    def receive(self) -> tuple[Plain, list[int]]:
        """The next message. Raises EOFError when the other end is gone."""
        header, descriptors, _, _ = socket.recv_fds(self._socket, COUNT.size, _DESCRIPTORS, _CLOSE_ON_EXEC)
        if not header:
            raise EOFError
        (length,) = COUNT.unpack(header + self._read(COUNT.size - len(header)))
        return decode(self._read(length), _BOUNDS), descriptors

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self, length: int) -> bytes:
        content = bytearray()
        while len(content) < length:
            part = self._socket.recv(length - len(content))
            if not part:
                raise EOFError
            content += part
        return bytes(content)
