"""Scores and log-probabilities as the bytes of one row, with a checksum: a row that is damaged or foreign is no row."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Sequence
from typing import Any

from copgkit.types import Score

_CHECKSUM_BYTES = 16
_LOG_PROBS = b"log-probs"  # how a row of them begins; no JSON does


def pack(scores: Sequence[Score]) -> bytes:
    """Values and notes as JSON; numbers keep every digit, null is an abstention. Failures are never packed."""
    return json.dumps([[score.value, dict(score.notes)] for score in scores], separators=(",", ":")).encode()


def unpack(row: bytes) -> list[Score] | None:
    """The inverse of pack; None for anything else."""
    try:
        return [_score(value, notes) for value, notes in json.loads(row)] or None
    except (ValueError, TypeError, AttributeError):
        return None


def pack_log_probs(log_probs: Sequence[float]) -> bytes:
    """Numbers as 64-bit floats, bit for bit."""
    return _LOG_PROBS + struct.pack(f"<{len(log_probs)}d", *log_probs)


def unpack_log_probs(row: bytes) -> tuple[float, ...] | None:
    """The inverse of pack_log_probs; None for anything else."""
    numbers = row.removeprefix(_LOG_PROBS)
    if numbers == row or not numbers or len(numbers) % 8:
        return None
    return struct.unpack(f"<{len(numbers) // 8}d", numbers)


def checksum(key: bytes, row: bytes) -> bytes:
    """16 bytes over key and row. They find damage, not malice: whoever may write the file may write these."""
    return hashlib.blake2b(key + row, digest_size=_CHECKSUM_BYTES).digest()


def _score(value: Any, notes: Any) -> Score:
    plain = all(isinstance(note, int | float | str) for note in notes.values())
    if not plain or not (value is None or (type(value) is float and math.isfinite(value))):
        raise ValueError("not a score")
    return Score(value, notes)
