"""Reading families: what their members share is computed once, and nothing is padded.

The inputs of a batch lie one behind the other in a single row: of each family its beginning, then what every member
adds. Attention goes through the row part by part, so that members see their beginning and themselves; all else in a
causal model works on each token by itself. Whether a model can be read so is tried out when it is loaded.
Legend: N tokens of the row, H heads, D width of a head, B inputs, L outputs of the model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from copgkit_reward_model.families import Family

_NAMES = {"sdpa": "copgkit-reward-families", "eager": "copgkit-reward-families-eager"}
_TOGETHER = 256  # tokens of members in one call of attention: with more, most are masked from each other
_REACH = ("sliding_window", "attention_chunk_size")  # how far a layer sees, as configurations name it


@dataclass(frozen=True)
class Part:
    """Tokens of the row whose attention is one call. sees: the places of keys and values; mask [tokens, sees]: what is
    added to their scores, 0 or minus infinity. None where each of them sees those up to itself."""

    tokens: slice | list[int]
    sees: tuple[slice, ...]
    mask: Tensor | None = None


@dataclass
class Row:
    """Token ids and positions [N], the parts, and where every input ends [B]. last_parts: those of the last layer, from
    which only the ends are read."""

    last_layer: int
    dtype: torch.dtype
    device: Any
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    last_parts: list[Part] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, beginning: Sequence[int], own: Sequence[Sequence[int]]) -> None:
        """Puts a family behind what is there. own: what each member adds, at least one token."""
        shared = self._append(beginning, 0)
        if beginning:
            self.parts.append(Part(shared, (shared,)))
        for some in _in_parts(own):
            start = len(self.ids)
            for tokens in some:
                self._append(tokens, len(beginning))
                self.ends.append(len(self.ids) - 1)
            added = slice(start, len(self.ids))
            sees = (shared, added) if start > shared.stop else (slice(shared.start, added.stop),)
            mask, ends = self._mask(len(beginning), some), self.ends[-len(some) :]
            self.parts.append(Part(added, sees, mask))
            self.last_parts.append(Part(ends, sees, mask[[end - start for end in ends]]))

    def _mask(self, before: int, members: Sequence[Sequence[int]]) -> Tensor:
        """Every token sees all that is before, and its own member up to itself."""
        owner = torch.tensor([number for number, tokens in enumerate(members) for _ in tokens], device=self.device)
        own = (owner[:, None] == owner).tril()
        mask = torch.zeros(len(own), before + len(own), dtype=self.dtype, device=self.device)
        mask[:, before:].masked_fill_(~own, float("-inf"))
        return mask

    def _append(self, tokens: Sequence[int], position: int) -> slice:
        start = len(self.ids)
        self.ids += tokens
        self.positions += range(position, position + len(tokens))
        return slice(start, len(self.ids))


def read_families(model: Any, found: Sequence[Family], rows: Sequence[Sequence[int]], device: Any) -> Tensor:
    """The outputs [B, L] of all members, family after family. Raises whatever a model does that cannot be read so."""
    row = Row(model.config.get_text_config().num_hidden_layers - 1, model.dtype, device)
    for family in found:
        beginning = rows[family.members[0]][: family.shared]
        row.add(beginning, [rows[member][family.shared :] for member in family.members])
    ends_B = torch.tensor(row.ends, device=device)
    with _only_at(ends_B, _last_feed_forward(model)):
        hidden_1ND = model.base_model(
            input_ids=torch.tensor([row.ids], device=device),
            position_ids=torch.tensor([row.positions], device=device),
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),  # passed on as it is, and not used
            use_cache=False,
            row=row,
        ).last_hidden_state
    outputs_BL: Tensor = model.score(hidden_1ND[0, ends_B.to(hidden_1ND.device)])
    return outputs_BL


def can_share(model: Any, pad_id: int, limit: int, device: Any) -> bool:
    """Whether the model gives a family the outputs that it gives its members alone, tried out on a few tokens.

    Its attention is set to one that does what it did before everywhere else, and set back if the model cannot."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if before not in _NAMES or any((getattr(config, name, None) or limit) < limit for name in _REACH):
        return False
    known = [token for token in range(config.vocab_size) if token != pad_id]

    def words(start: int, length: int) -> list[int]:
        return [known[7 * place % len(known)] for place in range(start, start + length)]

    rows = [words(0, 20) + words(place, extra) for place, extra in ((40, 3), (50, 1), (60, 7))] + [words(5, 27)]
    if any(len(row) > limit for row in rows):
        return False
    AttentionInterface.register(_NAMES[before], partial(_attend, before))
    AttentionMaskInterface.register(_NAMES[before], ALL_MASK_ATTENTION_FUNCTIONS[before])
    try:
        with torch.inference_mode():
            plain = torch.cat([model(input_ids=torch.tensor([row], device=device)).logits for row in rows]).float()
            model.set_attn_implementation(_NAMES[before])
            found = read_families(model, [Family((0, 1, 2), 20), Family((3,), 26)], rows, device).float()
        coarse = model.dtype in (torch.bfloat16, torch.float16)
        tolerance = {"rtol": 2e-2, "atol": 2e-2} if coarse else {"rtol": 1e-4, "atol": 1e-5}
        if torch.allclose(found, plain.to(found.device), **tolerance):
            return True
    except (AttributeError, TypeError, ValueError, IndexError, RuntimeError):
        pass  # it takes no such row
    model.set_attn_implementation(before)
    return False


def _attend(
    implementation: str,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row: Row | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention interface: query [1, H, N, D] to output [1, N, H, D]."""
    if implementation == "sdpa":
        attend = sdpa_attention_forward
    else:
        attend = sys.modules[type(module).__module__].eager_attention_forward  # each architecture has its own
    if row is None:
        found: tuple[Tensor, Tensor | None] = attend(module, query, key, value, attention_mask, **options)
        return found
    output = value.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])
    for part in row.last_parts if module.layer_idx == row.last_layer else row.parts:
        keys, values = (_at(part.sees, tensor) for tensor in (key, value))
        queries, mask = query[:, :, part.tokens], part.mask
        if mask is None and implementation == "eager":  # which takes no mask for sight of everything
            mask = query.new_full([queries.shape[2]] * 2, float("-inf")).triu(1)
        if mask is not None:
            mask = mask.to(query.device)[None, None]
        output[:, part.tokens] = attend(module, queries, keys, values, mask, **options)[0]
    return output, None


def _at(places: Sequence[slice], tensor: Tensor) -> Tensor:
    found = [tensor[:, :, place] for place in places]
    return found[0] if len(found) == 1 else torch.cat(found, dim=2)


def _in_parts(own: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Neighbouring members of at most _TOGETHER tokens, or a longer one by itself."""
    some: list[Sequence[int]] = []
    for tokens in own:
        if some and sum(map(len, some)) + len(tokens) > _TOGETHER:
            yield some
            some = []
        some.append(tokens)
    yield some


def _last_feed_forward(model: Any) -> Any:
    """The feed-forward part of the last layer, where the architecture has it under the usual name."""
    layers = getattr(model.base_model, "layers", None)
    return getattr(layers[-1], "mlp", None) if layers else None


@contextmanager
def _only_at(places: Tensor, module: Any) -> Iterator[None]:
    """Has a module compute only what is read afterwards; zeros stand elsewhere."""
    if module is None:
        yield
        return
    lengths = []

    def choose(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        lengths.append(given[0].shape[1])
        return (given[0][:, places.to(given[0].device)],)

    def spread(_: Any, given: Any, output: Tensor) -> Tensor:
        whole = output.new_zeros(1, lengths.pop(), output.shape[-1])
        return whole.index_copy_(1, places.to(output.device), output)

    hooks = [module.register_forward_pre_hook(choose), module.register_forward_hook(spread)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
