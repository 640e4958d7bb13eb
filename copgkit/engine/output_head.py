"""Log-probabilities of given tokens from the last hidden states, without the logits of all of them ever existing.

ln p(token) = z_token - ln sum_v exp(z_v) is summed up a slice of the vocabulary at a time, for all tokens at once, so
that every row of the head's weight is read once a pass. The backward pass computes the slices again where they are too
many to be kept. What is kept and what a slice takes is bounded, whatever the tokens and the size of the vocabulary.
Legend: N tokens, D hidden, V vocabulary, S its slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_SLICE = 4_000_000
"""Logits of one slice: 16 MB in float32."""
_KEPT = 2**26
"""Up to so many logits in all, 256 MB in float32, the slices are kept for the backward pass instead of being computed
again, which saves a quarter of the head's work."""


@dataclass(frozen=True)
class LogitMap:
    """What an architecture does to the output head's product: softcap * tanh(scale * z / softcap)."""

    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, config: Any) -> LogitMap:
        """As the configuration says: Cohere multiplies, Granite divides, Gemma 2 caps."""
        scale = getattr(config, "logit_scale", None) or 1.0
        divisor = getattr(config, "logits_scaling", None) or 1.0
        return cls(scale / divisor, getattr(config, "final_logit_softcapping", None))

    def __call__(self, product: Tensor) -> Tensor:
        """The logits, in float32 at least; the product may be overwritten."""
        logits = product.to(torch.promote_types(product.dtype, torch.float32))
        if self.scale != 1.0:
            logits = logits.mul_(self.scale)
        return logits if self.softcap is None else logits.div_(self.softcap).tanh_().mul_(self.softcap)

    def backward(self, grad: Tensor, logits: Tensor) -> Tensor:
        """The gradient of the product from that of the logits; the latter is overwritten."""
        if self.softcap is not None:
            grad = grad.mul_(1 - (logits / self.softcap).square())
        return grad if self.scale == 1.0 else grad.mul_(self.scale)


def token_log_probs(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    target_N: Tensor,
    logit_map: LogitMap,
    with_entropy: bool = False,
    slice_size: int = _SLICE,
    kept_size: int = _KEPT,
) -> tuple[Tensor, Tensor | None]:
    """ln p(target) in nats [N], differentiable, float32 at least; and the entropies of the distributions [N], in nats
    and without gradient, if wanted. slice_size: logits that are computed at a time. kept_size: logits that are kept, if
    no more of them are needed."""
    dtype = weight_VD.dtype
    if torch.is_autocast_enabled(hidden_ND.device.type):
        dtype = torch.get_autocast_dtype(hidden_ND.device.type)
    arguments = (hidden_ND, weight_VD, bias_V, target_N, logit_map, with_entropy, slice_size, kept_size, dtype)
    logp_N, entropy_N = _TokenLogProbs.apply(*arguments)  # type: ignore[no-untyped-call]
    return logp_N, entropy_N if with_entropy else None


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_N: Tensor,
        logit_map: LogitMap,
        with_entropy: bool,
        slice_size: int,
        kept_size: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        head = _Head(hidden_ND, weight_VD, bias_V, target_N, logit_map, dtype)
        kept = any(ctx.needs_input_grad) and len(hidden_ND) * len(weight_VD) <= kept_size
        exact = torch.promote_types(dtype, torch.float32)
        lse_N = torch.full(target_N.shape, -torch.inf, dtype=exact, device=hidden_ND.device)
        chosen_N, mean_N = torch.zeros_like(lse_N), torch.zeros_like(lse_N)
        slices = []
        for vocabulary in head.slices(slice_size):
            logits_NS = head.logits(vocabulary)
            slices += [logits_NS] if kept else []
            before_N, part_N = lse_N, logits_NS.logsumexp(-1)
            lse_N = torch.logaddexp(before_N, part_N)
            inside_N, index_N = head.targets(vocabulary)
            chosen_N += torch.where(inside_N, logits_NS.gather(1, index_N[:, None])[:, 0], 0.0)
            if with_entropy:
                part_mean_N = ((logits_NS - part_N[:, None]).exp_() * logits_NS).sum(-1)
                mean_N = mean_N * (before_N - lse_N).exp() + part_mean_N * (part_N - lse_N).exp()
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, target_N, lse_N, *slices)
        ctx.settings = (logit_map, slice_size, dtype)
        entropy_N = lse_N - mean_N
        ctx.mark_non_differentiable(entropy_N)
        return chosen_N - lse_N, entropy_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, weight_VD, bias_V, target_N, lse_N, *slices = ctx.saved_tensors
        logit_map, slice_size, dtype = ctx.settings
        head = _Head(hidden_ND, weight_VD, bias_V, target_N, logit_map, dtype)
        needs_weight, needs_bias = ctx.needs_input_grad[1:3]
        of_hidden_ND = torch.zeros(hidden_ND.shape, dtype=lse_N.dtype, device=hidden_ND.device)
        of_weight_VD = torch.empty_like(weight_VD) if needs_weight else None
        of_bias_V = torch.empty_like(bias_V) if needs_bias else None
        for number, vocabulary in enumerate(head.slices(slice_size)):
            logits_NS = slices[number] if slices else head.logits(vocabulary)
            # d ln p(target) / d logits = [target] - p
            grad_NS = (logits_NS - lse_N[:, None]).exp_().mul_(-grad_N[:, None])
            inside_N, index_N = head.targets(vocabulary)
            grad_NS.scatter_add_(1, index_N[:, None], torch.where(inside_N, grad_N, 0.0)[:, None])
            grad_NS = logit_map.backward(grad_NS, logits_NS).to(dtype)
            of_hidden_ND += grad_NS @ head.weight_VD[vocabulary]
            if of_weight_VD is not None:
                of_weight_VD[vocabulary] = grad_NS.T @ head.hidden_ND
            if of_bias_V is not None:
                of_bias_V[vocabulary] = grad_NS.sum(0)
        return of_hidden_ND.to(hidden_ND.dtype), of_weight_VD, of_bias_V, *[None] * 6


@dataclass
class _Head:
    """The output head's product in the type that it is computed in, a slice of the vocabulary at a time."""

    hidden_ND: Tensor
    weight_VD: Tensor
    bias_V: Tensor | None
    target_N: Tensor
    logit_map: LogitMap
    dtype: torch.dtype

    def __post_init__(self) -> None:
        self.hidden_ND, self.weight_VD = self.hidden_ND.to(self.dtype), self.weight_VD.to(self.dtype)

    def slices(self, size: int) -> Iterator[slice]:
        """Slices of the vocabulary with at most `size` logits, but at least 256 words."""
        words = max(256, size // max(1, len(self.hidden_ND)))
        return (slice(start, start + words) for start in range(0, len(self.weight_VD), words))

    def logits(self, vocabulary: slice) -> Tensor:
        """What the architecture makes of them [N, S], float32 at least."""
        bias_S = None if self.bias_V is None else self.bias_V[vocabulary].to(self.dtype)
        return self.logit_map(torch.nn.functional.linear(self.hidden_ND, self.weight_VD[vocabulary], bias_S))

    def targets(self, vocabulary: slice) -> tuple[Tensor, Tensor]:
        """Which targets are in this slice [N], and where in it [N]; 0 for the others."""
        end = min(vocabulary.stop, len(self.weight_VD))
        inside_N = (self.target_N >= vocabulary.start) & (self.target_N < end)
        return inside_N, torch.where(inside_N, self.target_N - vocabulary.start, 0)
