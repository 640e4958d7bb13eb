"""Decoding in which the K completions of a prompt attend to one copy of its keys and values.

    decoder, logits_RV = SharedDecoder.after(module, prompts, counts=[8] * len(prompts), device=device, ...)
    logits_RV = decoder.read(token_R)            # one more token for every row
    decoder.keep(index_R)                        # the other rows have ended

A row's query meets its prompt's keys in a matrix product with those of its sister rows, and its own keys alone; one
softmax runs over both. Copies of the prompt for every row would cost K times the memory and its traffic: measured on
one core, a layer's attention over 8 rows of a prompt of 384 (8 heads of 64) takes 0.2 ms instead of 0.5.
The attention function is registered with transformers for the time of one forward pass, under a name without a mask of
its own, so that none is built. Prompts are padded behind: causal attention never sees that, and needs no mask either.

Limits: every layer must keep plain keys and values (`DynamicLayer`) and attend by transformers' attention interface
without soft-capping, sinks or position biases. engine/decoding.py finds out by a probe whether a model does.
Legend: P prompts, K rows of the prompt that has most, R rows (completions that are being written), H heads that have
keys of their own, Q queries of one such head, T tokens, N columns of a table, V vocabulary, D width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from copgkit.engine.cache import SharedLayer, cache_of, is_plain
from copgkit.engine.log_probs import only_where_read
from copgkit.engine.packing import PAD

_WORTH_DROPPING = (
    0.25  # share of prompts without rows from which copying the others' keys costs less than their products
)
_NOT_UNDERSTOOD = ("softcap", "s_aux", "position_bias", "sliding_window")
_NAME = "copgkit-shared-decoding"


class NotShareable(Exception):
    """The model's cache or attention is of a kind that this decoder does not know."""


@dataclass(frozen=True)
class Grid:
    """Rows, which are in the order of their prompts, as a table of prompts times rows.

    counts: rows of each prompt. row_PK: which row stands in a cell; row 0 stands in where there is none. cell_R: the
    flat cell of each row. Both are None where all prompts have equally many rows, so that a view is enough.
    """

    counts: tuple[int, ...]
    row_PK: Tensor | None
    cell_R: Tensor | None

    @classmethod
    def of(cls, counts: Sequence[int], device: torch.device) -> Grid:
        """The table of prompts that have so many rows."""
        if len(set(counts)) == 1:
            return cls(tuple(counts), None, None)
        count_P1 = torch.tensor(counts)[:, None]
        slot_K = torch.arange(max(counts))
        used_PK = slot_K < count_P1
        row_PK = torch.zeros(used_PK.shape, dtype=torch.long)
        row_PK[used_PK] = torch.arange(sum(counts))
        return cls(tuple(counts), row_PK.to(device), used_PK.flatten().nonzero()[:, 0].to(device))

    def table(self, value_RHQD: Tensor) -> Tensor:
        """Values of rows [R, H, Q, D] by prompt [P, H, K * Q, D]."""
        if self.row_PK is None:
            value_PKHQD = value_RHQD.unflatten(0, (len(self.counts), -1))
        else:
            value_PKHQD = value_RHQD[self.row_PK]
        table_PHND: Tensor = value_PKHQD.transpose(1, 2).flatten(2, 3)
        return table_PHND

    def rows(self, value_PHND: Tensor, queries: int) -> Tensor:
        """The other way round."""
        value_RHQD: Tensor = value_PHND.unflatten(2, (-1, queries)).transpose(1, 2).flatten(0, 1)
        return value_RHQD if self.cell_R is None else value_RHQD[self.cell_R]


class SharedDecoder:
    """Rows that are being written, over the keys and values of their prompts."""

    def __init__(
        self, module: Callable[..., Any], layers: Sequence[SharedLayer], lengths: Sequence[int], counts: Sequence[int]
    ) -> None:
        self._module, self._layers = module, layers
        self._cache = DynamicCache()
        self._cache.layers = list(layers)
        device = layers[0].prompt_keys.device
        self._grid = Grid.of(counts, device)
        self._hidden_PT = _hidden(lengths, layers[0].prompt_keys)
        self._position_R = torch.tensor([n for n, count in zip(lengths, counts, strict=True) for _ in range(count)])
        self._position_R = self._position_R.to(device) - 1
        self._prompt_R = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))

    @classmethod
    def after(
        cls,
        module: torch.nn.Module,
        prompts: Sequence[Sequence[int]],
        counts: Sequence[int],
        device: torch.device,
        narrow: bool,
        tokens_per_forward: int,
        last: str | None = None,
    ) -> tuple[SharedDecoder, Tensor]:
        """The decoder after the prompts, with counts[p] rows for prompt p, and the logits of their first tokens [R, V].

        Prompts are read once, about tokens_per_forward tokens at a time, padding included: give them sorted by length.
        last: the part of the module that need not compute more than the prompts' last tokens (`Forms.last`).
        Raises NotShareable if the module's cache is of another kind.
        """
        several = (prompts[part] for part in _parts(prompts, tokens_per_forward))
        read = [_read_prompts(module, some, device, narrow, last) for some in several]
        layers = [
            SharedLayer(*_stacked(parts), sum(counts)) for parts in zip(*(states for states, _ in read), strict=True)
        ]
        decoder = cls(module, layers, [len(ids) for ids in prompts], counts)
        logits_PV = torch.cat([logits for _, logits in read])
        return decoder, logits_PV[decoder._prompt_R.to(device)]

    def read(self, token_R: Tensor) -> Tensor:
        """The logits after one more token a row [R, V]."""
        self._position_R = self._position_R + 1
        with _attention(self._module, self._attend):
            output = self._module(
                input_ids=token_R[:, None],
                position_ids=self._position_R[:, None],
                past_key_values=self._cache,
                use_cache=True,
            )
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep(self, index_R: Tensor) -> None:
        """Leaves only these rows, in ascending order."""
        device = self._position_R.device
        self._position_R = self._position_R[index_R]
        self._prompt_R = self._prompt_R[index_R.cpu()]
        counts = self._prompt_R.bincount(minlength=len(self._grid.counts))
        left, index_P = counts.nonzero()[:, 0], None
        if len(left) <= (1 - _WORTH_DROPPING) * len(counts):
            index_P, counts = left.to(device), counts[left]
            self._prompt_R = torch.arange(len(left)).repeat_interleave(counts)
            self._hidden_PT = None if self._hidden_PT is None else self._hidden_PT[index_P]
        self._grid = Grid.of(counts.tolist(), device)
        for layer in self._layers:
            layer.keep(index_R, index_P)

    def _attend(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """transformers' attention interface: query [R, heads, 1, D] to output [R, 1, heads, D]."""
        if any(options.get(name) is not None for name in _NOT_UNDERSTOOD):
            raise NotShareable("its attention has more than a softmax over scaled products")
        layer = self._layers[int(module.layer_idx)]  # type: ignore[arg-type]
        heads, width = key.shape[1], query.shape[-1]
        query_RHQD = query.reshape(len(query), heads, -1, width) * (width**-0.5 if scaling is None else scaling)
        queries = query_RHQD.shape[2]
        prompt_PHNT = self._grid.table(query_RHQD) @ layer.prompt_keys.transpose(2, 3)
        if self._hidden_PT is not None:
            prompt_PHNT = prompt_PHNT + self._hidden_PT[:, None, None]
        own_PHNT = self._grid.table(query_RHQD @ key.transpose(2, 3))
        length = prompt_PHNT.shape[-1]
        weight_PHNT = torch.cat([prompt_PHNT, own_PHNT], -1).softmax(-1, dtype=torch.float32).to(value.dtype)
        output_RHQD = self._grid.rows(weight_PHNT[..., :length] @ layer.prompt_values, queries)
        output_RHQD = output_RHQD + self._grid.rows(weight_PHNT[..., length:], queries) @ value
        return output_RHQD.reshape(len(query), 1, -1, value.shape[-1]), None


@contextmanager
def _attention(module: Any, attend: Callable[..., Any]) -> Iterator[None]:
    """The module attends by this function in between."""
    name = f"{_NAME}-{id(module)}"
    before = module.config._attn_implementation
    ALL_ATTENTION_FUNCTIONS[name] = attend
    module.config._attn_implementation = name
    try:
        yield
    finally:
        module.config._attn_implementation = before
        del ALL_ATTENTION_FUNCTIONS[name]


def _read_prompts(
    module: torch.nn.Module, prompts: Sequence[Sequence[int]], device: torch.device, narrow: bool, last: str | None
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Keys and values of every layer, each [P, H, T, D], and the logits behind each prompt's last token [P, V]."""
    longest = max(len(ids) for ids in prompts)
    ids_PT = torch.tensor([[*ids, *[PAD] * (longest - len(ids))] for ids in prompts], device=device)
    last_P1 = torch.tensor([[len(ids) - 1] for ids in prompts], device=device)
    last_PT = torch.arange(longest, device=device) == last_P1
    more = {"logits_to_keep": last_PT} if narrow else {}
    with only_where_read(module, last, last_PT.flatten().nonzero()[:, 0]):
        output = module(input_ids=ids_PT, use_cache=True, **more)
    cache = cache_of(output)
    if not is_plain(cache):
        raise NotShareable("its cache holds more than plain keys and values")
    logits_PV = output.logits.flatten(0, -2) if narrow else output.logits[last_PT]
    return [(layer.keys, layer.values) for layer in cache.layers], logits_PV


def _parts(prompts: Sequence[Sequence[int]], budget: int) -> Iterator[slice]:
    """Stretches of the prompts that hold about so many tokens each, padding included."""
    start = longest = 0
    for place, ids in enumerate(prompts):
        wider = max(longest, len(ids))
        if place > start and wider * (place + 1 - start) > budget:
            yield slice(start, place)
            start, wider = place, len(ids)
        longest = wider
    yield slice(start, len(prompts))


def _stacked(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Keys and values of all parts, one under the other, each [P, H, T, D]."""
    keys, values = zip(*parts, strict=True)
    return _under_each_other(keys), _under_each_other(values)


def _under_each_other(states: Sequence[Tensor]) -> Tensor:
    """States [p, H, t, D] as one [P, H, T, D], the shorter ones filled up behind with zeros."""
    if len(states) == 1:
        return states[0]
    longest = max(one.shape[2] for one in states)
    filled = [functional.pad(one, (0, 0, 0, longest - one.shape[2])) for one in states]
    return torch.cat(filled)


def _hidden(lengths: Sequence[int], like: Tensor) -> Tensor | None:
    """What is added to scores [P, T] so that no row sees the padding behind its prompt; None where there is none."""
    if len(set(lengths)) == 1:
        return None
    length_P1 = torch.tensor(lengths, device=like.device)[:, None]
    padding_PT = torch.arange(like.shape[2], device=like.device) >= length_P1
    return torch.zeros(padding_PT.shape, dtype=like.dtype, device=like.device).masked_fill(padding_PT, -torch.inf)
