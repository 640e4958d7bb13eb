"""The log-probabilities that a frozen model gives to groups of completions, kept by content in the score store.

    shelf = LogProbShelf(store, model, computed_on, codec.prompt_ids)
    shelf.keep(groups, log_probs)
    shelf.find(groups)                  # the same numbers, bit for bit

A group is one row: its completions are computed together, and the last digits of each depend on all of them.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from copgkit.store.score_keys import SourceIdentity, encode
from copgkit.store.score_rows import pack_log_probs, unpack_log_probs
from copgkit.store.scores import ScoreStore
from copgkit.types import Group, Prompt


@dataclass
class LogProbShelf:
    """The log-probabilities of one model. A group without token ids on every completion is never kept.

    computed_on: the machine and libraries, as far as last digits depend on them. prompt_ids: the ids of a prompt.
    """

    store: ScoreStore
    model: SourceIdentity
    computed_on: str
    prompt_ids: Callable[[Prompt], Sequence[int]]

    def find(self, groups: Sequence[Group]) -> list[tuple[float, ...] | None]:
        """K numbers for each group that is there and undamaged, None for any other."""
        keys = [self._key(group) for group in groups]
        rows = self.store.find_rows([key for key in keys if key is not None])
        found = {key: log_probs for key, row in rows.items() if (log_probs := unpack_log_probs(row)) is not None}
        return [None if key is None else found.get(key) for key in keys]

    def keep(self, groups: Sequence[Group], log_probs: Sequence[Sequence[float]]) -> None:
        """Writes K numbers for each group, all or none of them. Numbers that are not finite are not kept."""
        rows = {
            key: pack_log_probs(row)
            for group, row in zip(groups, log_probs, strict=True)
            if all(map(math.isfinite, row)) and (key := self._key(group)) is not None
        }
        self.store.keep_rows(self.model, rows)

    def _key(self, group: Group) -> bytes | None:
        """sha256 over model, machine, and the ids of prompt and completions."""
        completions = [completion.token_ids for completion in group.completions]
        if None in completions:
            return None
        ids = [_as_bytes(ids) for ids in (self.prompt_ids(group.prompt), *completions) if ids is not None]
        return hashlib.sha256(self.model.digest + encode([self.computed_on, ids])).digest()


def _as_bytes(ids: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(ids)}q", *ids)
