"""Messages over a pair of pipes, as the locked-down child sees them: a length of four bytes, then the message.

The child trusts its supervisor; the supervisor trusts nothing and reads with a loop of its own (`session.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .decoding import decode
from .encoding import encode
from .plain import COUNT, Bounds, Opaque, Plain

REQUEST_BOUNDS = Bounds(message_bytes=1 << 25, values=2_000_000)  # what the supervisor may send: a program of 10 MB


def framed(content: bytes) -> bytes:
    """A message as it lies in a pipe."""
    return COUNT.pack(len(content)) + content


class Channel:
    """The child's end: `receive` a request, `send` a reply."""

    def __init__(self, requests_fd: int, replies_fd: int, reply_bounds: Bounds) -> None:
        self.requests_fd = requests_fd
        self.replies_fd = replies_fd
        self._reply_bounds = reply_bounds

    def send(self, message: Plain, opaque: Callable[[Any], Opaque] | None = None) -> None:
        """Write one message. Raises WireError, having written nothing, if it exceeds the bounds."""
        view = memoryview(framed(encode(message, self._reply_bounds, opaque)))
        while view:
            view = view[os.write(self.replies_fd, view) :]

    def receive(self, opaque: Callable[[Opaque], Any] | None = None) -> Plain:
        """The next message. Raises EOFError when the supervisor has hung up."""
        (length,) = COUNT.unpack(self._read(COUNT.size))
        return decode(self._read(length), REQUEST_BOUNDS, opaque)

    def _read(self, length: int) -> bytes:
        content = bytearray()
        while len(content) < length:
            part = os.read(self.requests_fd, length - len(content))
            if not part:
                raise EOFError
            content += part
        return bytes(content)
