"""Scores that the rows of a sweep share instead of asking for them again, where the score store keeps none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from copgkit.types import Group, Score


class MemoryShelf:
    """The scores of a source that the score store keeps none of, for as long as the sweep lasts."""

    def __init__(self) -> None:
        self._scores: dict[bytes, Sequence[Score]] = {}

    def keys(self, groups: Sequence[Group]) -> list[bytes]:
        """By all that is known of a group."""
        return [blake2b(repr(group).encode("utf-8", "surrogatepass"), digest_size=16).digest() for group in groups]

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Sequence[Score]]:
        return {key: self._scores[key] for key in keys if key in self._scores}

    def keep(self, scores: Mapping[bytes, Sequence[Score]]) -> None:
        self._scores |= scores
