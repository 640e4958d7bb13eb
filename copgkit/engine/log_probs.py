"""The log-probability of a completion: one forward pass over packed groups, summed over the completion's tokens.

    forms, _ = choose_forms(model, device, 192, 48)           # which of the ways below this model takes, tried out
    module = CompletionLogProbs(model, forms)
    logp_B, _ = module(forms.pack(groups, device))            # in the order of the completions

Three ways to attend, the first that a model takes: "blocks" (engine/shared_attention.py, on a CPU), "mask" (a block
mask for SDPA, eager or flex attention), "separate" (every completion repeats its prompt). Three ways from hidden states
to log-probabilities: "slices" (engine/output_head.py), "narrow" (logits at completion tokens only), "full". And the
last layer's feed-forward part is needed only where a completion's token is predicted.
Legend: B completions, N completion tokens of all of them, M positions that predict any, R rows, T tokens, V vocabulary,
D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from copgkit.engine.output_head import LogitMap, token_log_probs
from copgkit.engine.packing import Pack, TokenGroup, block_mask, flex_mask, pack_separate, pack_shared

Attention = Literal["blocks", "mask", "separate"]
Head = Literal["slices", "narrow", "full"]


@dataclass(frozen=True)
class Forms:
    """How a model computes log-probabilities. window: how far its sliding layers see, if they see less than all. last:
    the name of the last layer's feed-forward part, if that is computed only where its output is read."""

    attention: Attention
    head: Head
    window: int | None = None
    last: str | None = None

    def pack(self, groups: Sequence[TokenGroup], device: torch.device) -> Pack:
        """Groups ready for one forward pass."""
        if self.attention == "separate":
            return pack_separate(groups, device)
        return pack_shared(groups, device, one_row=self.attention == "blocks")

    def tokens(self, groups: Sequence[TokenGroup]) -> int:
        """Tokens that the groups take in one forward pass, with what pads shorter rows."""
        if self.attention == "blocks":
            return sum(group.shared_length for group in groups)
        if self.attention == "mask":
            return len(groups) * max(group.shared_length for group in groups)
        rows = sum(len(group.completions) for group in groups)
        return rows * max(group.longest_length for group in groups)


class CompletionLogProbs(torch.nn.Module):
    """A causal language model whose forward gives log-probabilities, so that wrappers see everything in one forward.

    layers_as_they_are: with gradients, the layers are left alone: what recomputes or compiles them does not know of
    hooks that come and go.
    """

    def __init__(self, model: torch.nn.Module, forms: Forms) -> None:
        super().__init__()
        self.model = model
        self.forms = forms
        self.layers_as_they_are = False

    def forward(self, pack: Pack, with_entropy: bool = False) -> tuple[Tensor, Tensor | None]:
        """ln pi(completion | prompt) in nats [B], float32 at least; and, if wanted, the entropies of the next-token
        distributions in nats, summed over a completion's tokens [B], without gradient."""
        with only_where_read(self.model, self._last_feed_forward(), pack.read_M):
            logp_N, entropy_N = self._of_tokens(pack, with_entropy)
        return _sums(logp_N, pack), None if entropy_N is None else _sums(entropy_N, pack)

    def _of_tokens(self, pack: Pack, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        head: Any = output_head(self.model)
        if self.forms.head == "full":
            logits = self._model_output(pack).flatten(0, 1)
            return _from_logits(logits[pack.predictor_N], pack.target_N, with_entropy)
        if self.forms.head == "narrow":
            with _only(head, pack.predictor_N):
                logits = self._model_output(pack)
            return _from_logits(logits[0], pack.target_N, with_entropy)
        with _instead_of(head) as seen:
            self._model_output(pack)
        hidden_ND = seen[0].flatten(0, 1)[pack.predictor_N]
        logit_map = LogitMap.of(getattr(self.model, "config", None))
        return token_log_probs(hidden_ND, head.weight, head.bias, pack.target_N, logit_map, with_entropy)

    def _model_output(self, pack: Pack) -> Tensor:
        logits: Tensor = self.model(
            input_ids=pack.ids_RT, position_ids=pack.position_RT, use_cache=False, **self._who_sees_whom(pack)
        ).logits
        return logits

    def _last_feed_forward(self) -> str | None:
        return None if self.layers_as_they_are and torch.is_grad_enabled() else self.forms.last

    def _who_sees_whom(self, pack: Pack) -> dict[str, Any]:
        if pack.real_RT is not None:
            return {"attention_mask": pack.real_RT}
        if pack.blocks is not None:  # a mask with four dimensions is passed on as it is; this one is not looked at
            return {"attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool), "blocks": pack.blocks}
        return {"attention_mask": _masks(self.model, pack, self.forms.window)}


def in_passes(
    module: torch.nn.Module, forms: Forms, groups: Sequence[TokenGroup], device: torch.device, budget: int
) -> Tensor:
    """ln pi of every completion [B], without gradients, in passes of about `budget` tokens; a group that is longer is
    split into parts that repeat its prompt."""
    first, parts = 0, []
    for group in groups:
        parts += [(first + some.start, _part(group, some)) for some in _fitting(group, forms, budget)]
        first += len(group.completions)
    parts.sort(key=lambda part: part[1].shared_length)
    places: list[int] = []
    found = []
    for some in stretches(len(parts), lambda some: forms.tokens([parts[n][1] for n in some]) <= budget):
        found.append(module(forms.pack([parts[n][1] for n in some], device))[0])
        places += [parts[n][0] + k for n in some for k in range(len(parts[n][1].completions))]
    logp_B = torch.cat(found)
    return torch.empty_like(logp_B).index_copy(0, torch.tensor(places, device=device), logp_B)


def stretches(count: int, fits: Callable[[range], bool]) -> Iterator[range]:
    """The numbers below count, neighbours together for as long as they fit, one at least. What contains something that
    does not fit must not fit either: ends are looked for by doubling and halving, so that fits, which itself looks at
    every number that it is given, is asked only a few times for each stretch."""
    start = 0
    while start < count:
        fitting, beyond = 1, 2
        while start + beyond <= count and fits(range(start, start + beyond)):
            fitting, beyond = beyond, 2 * beyond
        beyond = min(beyond, count - start + 1)
        while beyond - fitting > 1:
            middle = (fitting + beyond) // 2
            if fits(range(start, start + middle)):
                fitting = middle
            else:
                beyond = middle
        yield range(start, start + fitting)
        start += fitting


def _fitting(group: TokenGroup, forms: Forms, budget: int) -> Iterator[range]:
    return stretches(len(group.completions), lambda some: forms.tokens([_part(group, some)]) <= budget)


def _part(group: TokenGroup, some: range) -> TokenGroup:
    return TokenGroup(group.prompt_ids, [group.completions[k] for k in some])


def output_head(model: torch.nn.Module) -> torch.nn.Module | None:
    """The layer that gives logits; None where the model does not say which it is."""
    getter = getattr(model, "get_output_embeddings", None)
    head: torch.nn.Module | None = getter() if getter is not None else None
    return head


def _masks(model: torch.nn.Module, pack: Pack, window: int | None) -> Any:
    """The block mask, in the form that the model's attention takes; one for each kind of layer where there are two."""
    config: Any = getattr(model, "config", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    implementation = getattr(config, "_attn_implementation", "eager")

    def shaped(window: int | None) -> Any:
        if implementation == "flex_attention":
            return flex_mask(pack, window)
        mask = block_mask(pack, window)
        if implementation == "sdpa":
            return mask
        dtype = next(model.parameters()).dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)

    if window is None or "sliding_attention" not in kinds:
        return shaped(window)
    return {kind: shaped(window if "sliding" in kind else None) for kind in kinds}


def _from_logits(logits_NV: Tensor, target_N: Tensor, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    logp_N = -functional.cross_entropy(logits_NV, target_N, reduction="none")
    if not with_entropy:
        return logp_N, None
    with torch.no_grad():
        return logp_N, torch.distributions.Categorical(logits=logits_NV).entropy()


def _sums(value_N: Tensor, pack: Pack) -> Tensor:
    """Token values added up over each completion [B]; 0 for one without tokens."""
    return value_N.new_zeros(pack.num_completions).index_add(0, pack.completion_N, value_N)


@contextmanager
def _only(head: torch.nn.Module, predictor_N: Tensor) -> Iterator[None]:
    """The output head sees the hidden states at these flat positions only, as one row."""

    def narrow(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, 1)[predictor_N][None], *inputs[1:])

    handle = head.register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _instead_of(head: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Hands over what the output head would see, and lets it compute a single position."""
    seen: list[Tensor] = []

    def take(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(inputs[0])
        return (inputs[0][:1, :1].detach(), *inputs[1:])

    handle = head.register_forward_pre_hook(take)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def only_where_read(model: torch.nn.Module, name: str | None, read_M: Tensor) -> Iterator[None]:
    """The part of this name, which works on each token by itself, computes these flat positions only; zeros stand
    elsewhere. None: everything is computed everywhere."""
    if name is None:
        yield
        return
    part = model.get_submodule(name)
    shapes: list[torch.Size] = []

    def narrow(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shapes.append(inputs[0].shape)
        return (inputs[0].flatten(0, 1)[read_M][None], *inputs[1:])

    def widen(_: torch.nn.Module, inputs: tuple[Tensor, ...], output_1MD: Tensor) -> Tensor:
        shape = shapes.pop()
        return output_1MD.new_zeros(shape).flatten(0, 1).index_copy(0, read_M, output_1MD[0]).view(shape)

    handles = [part.register_forward_pre_hook(narrow), part.register_forward_hook(widen)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
