"""The log-probability of a completion: one forward pass over prompt and completion, summed over the completion.

Legend: B sequences, T tokens, N completion tokens of all sequences, V vocabulary, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

PAD = 0
"""Fills rows up to their common length. Any valid id will do: no mask, position or loss depends on a padding id."""


class Row(NamedTuple):
    """One sequence: a prompt's ids (at least one) and a completion's."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]

    @property
    def length(self) -> int:
        """Tokens that are fed: the last one only has to be predicted."""
        return len(self.prompt_ids) + len(self.completion_ids) - 1


def sequence_log_probs(
    module: Callable[..., object], rows: Sequence[Row], device: torch.device, narrow: bool, tokens_per_forward: int
) -> Tensor:
    """ln pi(completion | prompt) in nats [B], differentiable; computed in float32 at least, whatever the weights are.

    narrow: the module takes a boolean mask [B, T] as `logits_to_keep`, so that only completion positions reach the
    output head and no [B, T, V] exists. tokens_per_forward: without gradients the rows are sorted by length and split
    into passes of about so many tokens, padding included. With gradients there is one pass: distributed wrappers allow
    no more before the backward pass, and the caller decides the memory by the number of groups that it gives.
    """
    if torch.is_grad_enabled():
        return _one_pass(module, rows, device, narrow)
    order = sorted(range(len(rows)), key=lambda index: rows[index].length)
    parts = [
        _one_pass(module, [rows[index] for index in chunk], device, narrow)
        for chunk in _chunks(order, rows, tokens_per_forward)
    ]
    logp_B = torch.cat(parts)
    return torch.empty_like(logp_B).index_copy(0, torch.tensor(order, device=device), logp_B)


def _one_pass(module: Callable[..., object], rows: Sequence[Row], device: torch.device, narrow: bool) -> Tensor:
    """The log-probabilities of rows that share a forward pass [B]."""
    ids_BT, attention_BT, predicts_BT = (tensor.to(device) for tensor in _padded(rows))
    targets_N = torch.tensor([token_id for row in rows for token_id in row.completion_ids], device=device)
    more = {"logits_to_keep": predicts_BT} if narrow else {}
    output = module(
        input_ids=ids_BT,
        attention_mask=attention_BT,
        position_ids=torch.arange(ids_BT.shape[1], device=device).expand_as(ids_BT),
        use_cache=False,
        **more,
    )
    logits: Tensor = output.logits  # type: ignore[attr-defined]
    logits_NV = logits if narrow else logits[predicts_BT]
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    logp_N = -functional.cross_entropy(logits_NV, targets_N, reduction="none")
    return logp_N.new_zeros(ids_BT.shape).masked_scatter(predicts_BT, logp_N).sum(-1)


def _padded(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and the positions that predict a completion token, each [B, T], padded on the right."""
    longest = max(row.length for row in rows)
    fed = [[*row.prompt_ids, *row.completion_ids][: row.length] + [PAD] * (longest - row.length) for row in rows]
    position_T = torch.arange(longest)
    length_B1 = torch.tensor([[row.length] for row in rows])
    prompt_B1 = torch.tensor([[len(row.prompt_ids)] for row in rows])
    ids_BT = torch.tensor(fed)
    attention_BT = (position_T < length_B1).long()
    predicts_BT = (position_T >= prompt_B1 - 1) & (position_T < length_B1)
    return ids_BT, attention_BT, predicts_BT


def _chunks(order: Sequence[int], rows: Sequence[Row], budget: int) -> Iterator[list[int]]:
    """Splits `order`, which rises in length, where length of the longest times number of rows would pass the budget."""
    chunk: list[int] = []
    for index in order:
        if chunk and rows[index].length * (len(chunk) + 1) > budget:
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk
