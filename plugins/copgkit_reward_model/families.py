"""Inputs that begin alike, as the completions of one prompt do, and which of them are read together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHORTEST_BEGINNING = 16  # tokens from which sharing is worth attention in two steps


@dataclass(frozen=True)
class Family:
    """Inputs that share their first `shared` tokens. members: their numbers."""

    members: tuple[int, ...]
    shared: int


def families(rows: Sequence[Sequence[int]]) -> list[Family]:
    """All inputs in families, by length. Every member has a token of its own behind the shared part; of one that begins
    like no other, all but the last token is shared."""
    found: list[Family] = []
    for number in sorted(range(len(rows)), key=lambda number: list(rows[number])):
        last = len(rows[number]) - 1
        shared = 0
        if found:
            before = rows[found[-1].members[-1]]
            shared = min(found[-1].shared, last, _beginning(before, rows[number]))
        if shared >= max(SHORTEST_BEGINNING, len(rows[number]) // 2):
            found[-1] = Family((*found[-1].members, number), shared)
        else:
            found.append(Family((number,), last))
    return sorted(found, key=lambda family: len(rows[family.members[0]]))


def batches(found: Sequence[Family], batch_size: int) -> Iterator[list[Family]]:
    """Neighbouring families, together at most batch_size inputs where a family is no larger."""
    batch: list[Family] = []
    for family in found:
        if batch and sum(len(one.members) for one in batch) + len(family.members) > batch_size:
            yield batch
            batch = []
        batch.append(family)
    if batch:
        yield batch


def _beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two inputs have in common from their start."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
