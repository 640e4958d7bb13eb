"""Sampling from a causal language model: every prompt is read once, then its K completions are written side by side.

Each completion has random numbers of its own, drawn from the seed, the prompt and the completion's number; so the text
does not depend on the batch it was written in, and the global random state is left alone. Whatever tokens come out are
kept as they are and never tokenised again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from copgkit.types import GenerationSettings


@dataclass
class Rows:
    """B completions being written. row_B: which of the results each is; finished rows leave the batch."""

    row_B: Tensor
    next_token_B: Tensor
    mask_BT: Tensor
    cache: DynamicCache

    def keep(self, alive_B: Tensor) -> None:
        """Leaves out the finished rows."""
        self.row_B, self.next_token_B, self.mask_BT = (
            self.row_B[alive_B],
            self.next_token_B[alive_B],
            self.mask_BT[alive_B],
        )
        self.cache.batch_select_indices(alive_B.nonzero()[:, 0])


@torch.no_grad()
def sample(
    module: nn.Module,
    prompts: Sequence[Sequence[int]],
    chances: Sequence[Sequence[random.Random]],
    settings: GenerationSettings,
    max_tokens: int,
    end_ids: Sequence[int],
) -> list[list[int]]:
    """Continues each prompt (token ids) as often as it has sources of chance; gives the new ids, prompt by prompt.

    A continuation ends with one of end_ids, which it includes, or after max_tokens.
    """
    device = next(module.parameters()).device
    copies = torch.tensor([len(row) for row in chances])
    uniform_BT = torch.tensor([[chance.random() for _ in range(max_tokens)] for row in chances for chance in row]).to(
        device
    )
    written: list[list[int]] = [[] for _ in range(len(uniform_BT))]
    end_E = torch.tensor(end_ids, device=device)
    rows, logits_BV = _read(module, prompts, copies.to(device))
    for position in range(max_tokens):
        rows.next_token_B = _choose(logits_BV, uniform_BT[rows.row_B, position], settings)
        for row, token in zip(rows.row_B.tolist(), rows.next_token_B.tolist(), strict=True):
            written[row].append(token)
        alive_B = ~torch.isin(rows.next_token_B, end_E)
        if position + 1 == max_tokens or not alive_B.any():
            break
        if not alive_B.all():
            rows.keep(alive_B)
        logits_BV = _write(module, rows)
    return written


def _read(module: nn.Module, prompts: Sequence[Sequence[int]], copies_P: Tensor) -> tuple[Rows, Tensor]:
    """Reads the prompts, left-padded, and gives the state from which all their completions start."""
    device = copies_P.device
    longest = max(map(len, prompts))
    ids_PT = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in prompts], device=device)
    mask_PT = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
    # Positions count from each prompt's first token: without them, padding would shift every prompt.
    position_PT = (mask_PT.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=module.config)
    out = module(
        input_ids=ids_PT, attention_mask=mask_PT, position_ids=position_PT, past_key_values=cache, use_cache=True
    )
    index_B = torch.arange(len(prompts), device=device).repeat_interleave(copies_P)
    cache.batch_select_indices(index_B)
    rows = Rows(torch.arange(len(index_B), device=device), index_B, mask_PT[index_B], cache)
    return rows, out.logits[:, -1][index_B]


def _write(module: nn.Module, rows: Rows) -> Tensor:
    """Takes in the last chosen tokens and gives the logits of the next [B, V]."""
    rows.mask_BT = torch.cat([rows.mask_BT, rows.mask_BT.new_ones(len(rows.mask_BT), 1)], dim=1)
    out = module(
        input_ids=rows.next_token_B[:, None],
        attention_mask=rows.mask_BT,
        position_ids=rows.mask_BT.sum(-1, keepdim=True) - 1,
        past_key_values=rows.cache,
        use_cache=True,
    )
    logits: Tensor = out.logits[:, -1]
    return logits


def _choose(logits_BV: Tensor, uniform_B: Tensor, settings: GenerationSettings) -> Tensor:
    """The token at which the cumulated probability passes the row's uniform number [B]; the likeliest if greedy."""
    if settings.temperature == 0:
        return logits_BV.argmax(-1)
    probability_BV = (logits_BV.double() / settings.temperature).softmax(-1)
    if settings.top_p < 1:
        probability_BV = _nucleus(probability_BV, settings.top_p)
    cumulated_BV = probability_BV.cumsum(-1)
    threshold_B1 = uniform_B[:, None].double() * cumulated_BV[:, -1:]
    return torch.searchsorted(cumulated_BV, threshold_B1, right=True)[:, 0].clamp(max=logits_BV.shape[-1] - 1)


def _nucleus(probability_BV: Tensor, top_p: float) -> Tensor:
    """Zero but for the smallest set of tokens that holds top_p of the mass (Holtzman et al., arXiv:1904.09751)."""
    sorted_BV, order_BV = probability_BV.sort(-1, descending=True)
    inside_BV = sorted_BV.cumsum(-1) - sorted_BV < top_p
    return probability_BV * torch.zeros_like(inside_BV).scatter(-1, order_BV, inside_BV)
