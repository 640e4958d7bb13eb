"""Attention over a row of groups that computes only what is seen: prompts over themselves, completions over both.

A block mask over the row would compute every pair of tokens and throw most away. Here each part is one call of torch's
fused attention on the CPU, and the two parts of a completion are joined by their normalisers: with
l = ln sum exp(scores), softmax over the union is sum_i exp(l_i - l) softmax_i, l = ln sum_i exp(l_i). The backward pass
of each part is that of the fused kernel given the joined output and l, as in ring attention (Liu et al.,
arXiv:2310.01889).

It is registered with transformers under NAME and does what `sdpa` does unless `blocks` is among the keyword arguments.
Limits: the fused kernel is torch's for the CPU; elsewhere `engine/log_probs.py` gives a block mask to SDPA.
Legend: N flat tokens, H heads, D width of a head, S stretches, L tokens of the longest; l is called lse, as in torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from copgkit.engine.packing import Blocks, Spans

NAME = "copgkit-shared-prompt"
_fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_fused_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
_CHANGES_SCORES = ("softcap", "s_aux", "position_bias")
_NEVER = 1e30  # as the normaliser of a row that is only there to fill up: its weights become exp(-1e30) = 0


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    blocks: Blocks | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention interface: query [1, H, N, D] to output [1, N, H, D]."""
    if blocks is None:
        output, weights = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
        return output, weights
    if unknown := [name for name in _CHANGES_SCORES if options.get(name) is not None]:
        raise ValueError(f"attention by blocks does not know {', '.join(unknown)}")
    repeats = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    if torch.is_autocast_enabled(query.device.type):  # as SDPA does; rotary embeddings leave float32 behind
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    flat = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    output_NHD: Tensor = _SharedAttention.apply(*flat, blocks, scaling)  # type: ignore[no-untyped-call]
    return output_NHD[None], None


class _SharedAttention(torch.autograd.Function):
    """Attention of flat tokens [N, H, D] by blocks."""

    @staticmethod
    def forward(
        ctx: Any, query_NHD: Tensor, key_NHD: Tensor, value_NHD: Tensor, blocks: Blocks, scale: float | None
    ) -> Tensor:
        output_NHD = torch.empty_like(query_NHD)
        exact = torch.promote_types(query_NHD.dtype, torch.float32)
        lse_NH = torch.empty(query_NHD.shape[:2], dtype=exact, device=query_NHD.device)
        prompt = [_heads_first(blocks.prompts.take(tensor)) for tensor in (query_NHD, key_NHD, value_NHD)]
        output_SHLD, lse_SHL = _fused(*prompt, is_causal=True, scale=scale)
        blocks.prompts.put(output_NHD, _tokens_first(output_SHLD))
        blocks.prompts.put(lse_NH, lse_SHL.transpose(1, 2))
        if blocks.tails is not None and blocks.own is not None:
            query_SHLD = _heads_first(blocks.tails.take(query_NHD))
            keys = [_seen(blocks, tensor) for tensor in prompt[1:]]
            to_prompt = _fused(query_SHLD, *keys, attn_mask=_prompt_mask(blocks, query_NHD.dtype), scale=scale)
            own = [_heads_first(blocks.own.take(tensor)) for tensor in (query_NHD, key_NHD, value_NHD)]
            to_own = _fused(*own, is_causal=True, scale=scale)
            joined, lse = _join(_flat(blocks.tails, *to_prompt), _flat(blocks.own, *to_own))
            output_NHD.index_copy_(0, blocks.own.tokens, joined)
            lse_NH.index_copy_(0, blocks.own.tokens, lse)
        ctx.save_for_backward(query_NHD, key_NHD, value_NHD, output_NHD, lse_NH)
        ctx.blocks, ctx.scale = blocks, scale
        return output_NHD

    @staticmethod
    def backward(ctx: Any, grad_NHD: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query_NHD, key_NHD, value_NHD, output_NHD, lse_NH = ctx.saved_tensors
        blocks, scale = ctx.blocks, ctx.scale
        grads = [torch.empty_like(tensor) for tensor in (query_NHD, key_NHD, value_NHD)]
        keys = [_heads_first(blocks.prompts.take(tensor)) for tensor in (key_NHD, value_NHD)]
        queries = _rows(blocks.prompts, grad_NHD, query_NHD, output_NHD, lse_NH)
        of_prompts = list(_backward(queries, keys, is_causal=True, attn_mask=None, scale=scale))
        if blocks.tails is not None and blocks.own is not None:
            queries = _rows(blocks.tails, grad_NHD, query_NHD, output_NHD, lse_NH)
            mask = _prompt_mask(blocks, query_NHD.dtype)
            seen = [_seen(blocks, tensor) for tensor in keys]
            of_tails = _backward(queries, seen, is_causal=False, attn_mask=mask, scale=scale)
            for total, part in zip(of_prompts[1:], of_tails[1:], strict=True):
                if len(part) == len(total):
                    total += part
                else:
                    total.index_add_(0, blocks.group_of_tail, part)
            queries = _rows(blocks.own, grad_NHD, query_NHD, output_NHD, lse_NH)
            keys = [_heads_first(blocks.own.take(tensor)) for tensor in (key_NHD, value_NHD)]
            of_own = _backward(queries, keys, is_causal=True, attn_mask=None, scale=scale)
            for grad, part in zip(grads, of_own, strict=True):
                blocks.own.put(grad, _tokens_first(part))
            blocks.tails.add(grads[0], _tokens_first(of_tails[0]))
        for grad, part in zip(grads, of_prompts, strict=True):
            blocks.prompts.put(grad, _tokens_first(part))
        return grads[0], grads[1], grads[2], None, None


def _join(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Softmax over the union of two sets of keys, from the outputs [N, H, D] and normalisers [N, H] over each."""
    lse_NH = torch.logaddexp(one[1], other[1])
    weights = [(part[1] - lse_NH).exp()[..., None].to(part[0].dtype) for part in (one, other)]
    return one[0] * weights[0] + other[0] * weights[1], lse_NH


def _rows(
    spans: Spans, grad_NHD: Tensor, query_NHD: Tensor, output_NHD: Tensor, lse_NH: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradient, query, output and normaliser as stretches; what only fills up has no weight and no gradient."""
    grad_SLHD, lse_SLH = spans.take(grad_NHD, filler=0), spans.take(lse_NH, filler=_NEVER)
    query_SLHD, output_SLHD = spans.take(query_NHD), spans.take(output_NHD)
    return (
        _heads_first(grad_SLHD),
        _heads_first(query_SLHD),
        _heads_first(output_SLHD),
        lse_SLH.transpose(1, 2).contiguous(),
    )


def _backward(
    queries: tuple[Tensor, Tensor, Tensor, Tensor],
    keys: list[Tensor],
    is_causal: bool,
    attn_mask: Tensor | None,
    scale: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    grad, query, output, lse = queries
    key, value = keys
    of_query, of_key, of_value = _fused_backward(
        grad, query, key, value, output, lse, 0.0, is_causal, attn_mask=attn_mask, scale=scale
    )
    return of_query, of_key, of_value


def _prompt_mask(blocks: Blocks, dtype: torch.dtype) -> Tensor | None:
    """Hides what fills up the shorter prompts from completions [S, 1, 1, L]; None where all are equally long."""
    if blocks.prompts.whole:
        return None
    valid_SL = blocks.prompts.valid_SL[blocks.group_of_tail]
    return torch.zeros(valid_SL.shape, dtype=dtype).masked_fill(~valid_SL, -torch.inf)[:, None, None]


def _seen(blocks: Blocks, of_prompts: Tensor) -> Tensor:
    """Keys or values of the prompts, for each group whose completions feed any token."""
    every_group = len(blocks.group_of_tail) == len(of_prompts)
    return of_prompts if every_group else of_prompts[blocks.group_of_tail]


def _flat(spans: Spans, output_SHLD: Tensor, lse_SHL: Tensor) -> tuple[Tensor, Tensor]:
    return spans.flat(_tokens_first(output_SHLD)), spans.flat(lse_SHL.transpose(1, 2))


def _heads_first(value_SLHD: Tensor) -> Tensor:
    return value_SLHD.transpose(1, 2)


def _tokens_first(value_SHLD: Tensor) -> Tensor:
    return value_SHLD.transpose(1, 2)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
