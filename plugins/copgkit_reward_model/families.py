"""Inputs that begin alike, as the completions of one prompt do: what they share is read once.

A causal classifier reads the common beginning of a family into its key/value cache, and then the rest of every member
behind a copy of it. Other classifiers (BERT's kind) have no such cache and read every input whole.
Legend: F families, B inputs, T tokens, H outputs of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

SHORTEST_BEGINNING = 16  # tokens from which sharing is worth a second forward pass


@dataclass(frozen=True)
class Family:
    """Inputs that share their first `shared` tokens. members: their numbers."""

    members: tuple[int, ...]
    shared: int


def families(rows: Sequence[Sequence[int]], pad_id: int) -> list[Family]:
    """All inputs in families, by length; one that begins like no other is alone and shares nothing.

    Behind the shared part every member has a token that is not padding, which is where its output is read.
    """
    reach = [_last_token(row, pad_id) for row in rows]
    found: list[Family] = []
    for number in sorted(range(len(rows)), key=lambda number: list(rows[number])):
        shared = 0
        if found:
            before = rows[found[-1].members[-1]]
            shared = min(found[-1].shared, reach[number], _beginning(before, rows[number]))
        if shared >= max(SHORTEST_BEGINNING, len(rows[number]) // 2):
            found[-1] = Family((*found[-1].members, number), shared)
        else:
            found.append(Family((number,), reach[number]))
    found = [family if len(family.members) > 1 else Family(family.members, 0) for family in found]
    return sorted(found, key=lambda family: (family.shared > 0, len(rows[family.members[0]])))


def alone(rows: Sequence[Sequence[int]]) -> list[Family]:
    """All inputs by length, each for itself."""
    return [Family((number,), 0) for number in sorted(range(len(rows)), key=lambda number: len(rows[number]))]


def can_share(model: Any, pad_id: int, limit: int) -> bool:
    """Whether the model gives a family the outputs that it gives its members alone, tried out on a few tokens."""
    import torch

    known = [token for token in range(model.config.get_text_config().vocab_size) if token != pad_id]

    def words(start: int, length: int) -> list[int]:
        return [known[7 * place % len(known)] for place in range(start, start + length)]

    rows = [words(0, 20) + words(place, extra) for place, extra in ((40, 3), (50, 1), (60, 7))] + [words(5, 21)]
    if any(len(row) > limit for row in rows):
        return False
    device = next((weight.device for weight in model.parameters() if weight.device.type != "meta"), "cpu")
    try:
        with torch.inference_mode():
            found = read_families(model, [Family((0, 1, 2), 20), Family((3,), 18)], rows, pad_id, device).float()
            ids_BT, real_BT = padded(rows, pad_id, device)
            plain = model(input_ids=ids_BT, attention_mask=real_BT).logits.float()
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError):
        return False  # no cache, or not one that can be copied
    coarse = next(model.parameters()).dtype in (torch.bfloat16, torch.float16)
    return bool(torch.allclose(found, plain, rtol=2e-2 if coarse else 1e-4, atol=2e-2 if coarse else 1e-5))


def batches(found: Sequence[Family], batch_size: int) -> Iterator[list[Family]]:
    """Neighbouring families of the same kind, together at most batch_size inputs where a family is no larger."""
    batch: list[Family] = []
    for family in found:
        full = sum(len(one.members) for one in batch) + len(family.members) > batch_size
        if batch and (full or bool(batch[0].shared) != bool(family.shared)):
            yield batch
            batch = []
        batch.append(family)
    if batch:
        yield batch


def read_families(model: Any, found: Sequence[Family], rows: Sequence[Sequence[int]], pad_id: int, device: Any) -> Any:
    """The outputs [B, H] of all members, family after family, each beginning read once. Raises whatever a model does
    that has no key/value cache."""
    import torch

    beginnings = [list(rows[family.members[0]][: family.shared]) for family in found]
    ids_FT, real_FT = padded(beginnings, pad_id, device)
    cache = model(input_ids=ids_FT, attention_mask=real_FT, use_cache=True).past_key_values
    family_B = torch.tensor([f for f, family in enumerate(found) for _ in family.members], device=device)
    cache.reorder_cache(family_B)  # one row for each member
    ends = [list(rows[member][family.shared :]) for family in found for member in family.members]
    ids_BT, real_BT = padded(ends, pad_id, device)
    start_B1 = torch.tensor([[family.shared] for family in found], device=device)[family_B]
    return model(
        input_ids=ids_BT,
        attention_mask=torch.cat([real_FT[family_B], real_BT], dim=1),
        position_ids=start_B1 + torch.arange(ids_BT.shape[1], device=device),
        past_key_values=cache,
        use_cache=True,
    ).logits


def padded(rows: Sequence[list[int]], filler: int, device: Any) -> tuple[Any, Any]:
    """Rows filled up on the right [B, T], and where they are real [B, T]."""
    import torch

    longest = max(map(len, rows))
    ids = [row + [filler] * (longest - len(row)) for row in rows]
    real = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(real, device=device)


def _beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two inputs have in common from their start."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _last_token(row: Sequence[int], pad_id: int) -> int:
    """The place of the last token that is not padding (a classifier's padding may be its end-of-sequence)."""
    return max((place for place, token in enumerate(row) if token != pad_id), default=0)
