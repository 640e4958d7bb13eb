"""What a stored score is filed under: sha256 over everything that it may depend on.

Every value is encoded with its type and its length in front, so that different contents never have the same encoding:
1, 1.0, "1" and true are four things, and "ab", "c" is not "a", "bc".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from numbers import Integral, Real
from typing import Any

from copgkit.types import Group, Prompt


class NotNameable(Exception):
    """A value has no encoding by content: an object of a class that only its owner knows."""


@dataclass(frozen=True)
class SourceIdentity:
    """Who scored, or which reference. fingerprint: what makes an old score invalid. code: a digest of the program."""

    distribution: str
    name: str
    version: str
    fingerprint: str
    code: str = ""

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for all of it."""
        return hashlib.sha256(encode(astuple(self))).digest()


def prompt_digest(prompt: Prompt) -> bytes:
    """32 bytes for what a source may know of a prompt: content, facts and answer. Raises NotNameable."""
    try:
        return hashlib.sha256(encode([prompt.content, prompt.facts, prompt.answer])).digest()
    except RecursionError as fault:
        raise NotNameable("facts that are nested too deeply") from fault


def group_key(source: bytes, prompt: bytes, group: Group, with_recorded_scores: bool) -> bytes:
    """The key of a source's scores of these completions, together; source and prompt are digests.

    It holds text and whether each completion is finished, the scores that came with it if the source reads them, and
    the pair weights.
    """
    said = [
        [one.text, one.finished, one.recorded_scores if with_recorded_scores else None] for one in group.completions
    ]
    return hashlib.sha256(source + prompt + encode([said, group.pair_weights])).digest()


def encode(value: Any) -> bytes:
    """A value of JSON's kinds, bytes or a number of numpy's as bytes that no other value has. A tuple counts as a list.

    Raises NotNameable for anything else.
    """
    if value is None or isinstance(value, bool):
        return {None: b"0", True: b"1", False: b"2"}[value]
    if isinstance(value, str):
        return _framed(b"s", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list | tuple):
        return _framed(b"l", b"".join(map(encode, value)))
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(inner)) for key, inner in value.items())
        return _framed(b"m", b"".join(key + inner for key, inner in pairs))
    if isinstance(value, int):
        return _framed(b"i", b"%x" % value)
    if isinstance(value, float):
        return b"f" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return _framed(b"b", value)
    return encode(_as_builtin(value))


def _as_builtin(value: Any) -> Any:
    """The value of a class of somebody else's as one of Python's own kinds."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise NotNameable(f"a {type(value).__name__}")


def _framed(kind: bytes, content: bytes) -> bytes:
    return b"%c%d:%b" % (kind, len(content), content)
