"""Which of the fast ways to compute log-probabilities a model takes: each is tried out against the plain one.

    forms, findings = choose_forms(model, device, max_prompt_tokens=192, max_completion_tokens=48)

A fast way is used if it gives the plain one's log-probabilities, and its gradients, up to the rounding of the weights'
type. What an architecture cannot do is a finding; what it does differently is one to be warned of, with the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from copgkit.engine import compiling, shared_attention
from copgkit.engine.loading import is_coarse, layers
from copgkit.engine.log_probs import CompletionLogProbs, Forms, output_head
from copgkit.engine.packing import TokenGroup

_REFUSALS = (TypeError, ValueError, IndexError, AttributeError, NotImplementedError, RuntimeError)
"""How a model says that it does not take a mask, an argument or an attention function."""

_NAMES = {
    "blocks": "prompts are computed once for all their completions (attention by blocks)",
    "mask": "prompts are computed once for all their completions (block mask)",
    "separate": "prompts are computed again for each of their completions",
}


@dataclass(frozen=True)
class Finding:
    """Something that the probe found. disagrees: a fast way gave other numbers, which is worth a warning."""

    text: str
    disagrees: bool = False


def choose_forms(
    model: torch.nn.Module, device: torch.device, max_prompt_tokens: int, max_completion_tokens: int
) -> tuple[Forms, list[Finding]]:
    """The fastest forms that agree with the plain ones on a few rows, and what to say about them.

    The model's attention implementation may be set to engine/shared_attention.py's, which does what `sdpa` does in
    every other respect. No random number is drawn and no gradient is left.
    """
    window = _window(model, max_prompt_tokens + max_completion_tokens)
    groups = _rows(model, max_prompt_tokens, max_completion_tokens, reach=window or 0)
    plain = Forms("separate", "full", window)
    wanted = _measured(model, plain, groups, device)
    findings: list[Finding] = []
    chosen = plain
    for candidate in _heads(model, plain):
        if _agrees(model, candidate, groups, device, wanted, findings):
            chosen = candidate
            break
    for candidate in _attentions(model, chosen, device):
        with_own = candidate.attention == "blocks"
        if with_own:
            _set_attention(model, shared_attention.NAME)
        if _agrees(model, candidate, groups, device, wanted, findings):
            chosen = candidate
            break
        if with_own:
            _set_attention(model, "sdpa")
    if (last := _last_feed_forward(model)) is not None:
        candidate = replace(chosen, last=last)
        if _agrees(model, candidate, groups, device, wanted, findings):
            chosen = candidate
    return chosen, [Finding(_NAMES[chosen.attention]), *findings]


def try_compiled(
    model: torch.nn.Module, forms: Forms, device: torch.device, max_prompt_tokens: int, max_completion_tokens: int
) -> Finding:
    """Compiles the model's layers, and undoes it if that gives other numbers for rows of two shapes. Takes a minute or
    more. Raises ModelError where nothing can be compiled."""
    groups = _rows(model, max_prompt_tokens, max_completion_tokens, reach=0)
    forms = replace(forms, last=None)  # as training then has them
    wanted = [_measured(model, forms, some, device) for some in (groups, groups[:2])]
    compiling.compile_layers(model, device)
    before = compiling.graphs()
    findings: list[Finding] = []
    for some, figures in zip((groups, groups[:2]), wanted, strict=True):
        if not _agrees(model, forms, some, device, figures, findings):
            compiling.undo(model)
            return replace(findings[0], text=f"train.compile: {findings[0].text}", disagrees=True)
    return Finding(f"its layers are compiled for training, into {compiling.graphs() - before} graphs")


@dataclass(frozen=True)
class _Figures:
    """Log-probabilities a token [B] and gradients of the small parameters, in float64."""

    logp_B: Tensor
    gradients: tuple[Tensor, ...]


def _heads(model: torch.nn.Module, plain: Forms) -> Iterator[Forms]:
    head = output_head(model)
    if type(head) is torch.nn.Linear:
        yield replace(plain, head="slices")
    if head is not None:
        yield replace(plain, head="narrow")


def _attentions(model: torch.nn.Module, forms: Forms, device: torch.device) -> Iterator[Forms]:
    implementation = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if implementation == "sdpa" and device.type == "cpu" and forms.window is None:
        yield replace(forms, attention="blocks")
    if implementation in ("sdpa", "eager", "flex_attention"):
        yield replace(forms, attention="mask")


def _last_feed_forward(model: torch.nn.Module) -> str | None:
    """The name of the last layer's feed-forward part, where it has the usual one."""
    found = layers(model)
    part = getattr(found[-1], "mlp", None) if found else None
    return next((name for name, module in model.named_modules() if module is part), None)


def _agrees(
    model: torch.nn.Module,
    forms: Forms,
    groups: Sequence[TokenGroup],
    device: torch.device,
    wanted: _Figures,
    findings: list[Finding],
) -> bool:
    """Whether the forms give what is wanted; if not, why not is added to the findings."""
    way: str = forms.attention if forms.attention != "separate" else forms.head
    if forms.last is not None:
        way = "last feed-forward part only where it is read"
    try:
        found = _measured(model, forms, groups, device)
    except _REFUSALS as refusal:
        reason = " ".join(str(refusal).split())[:120]
        findings.append(Finding(f"the model does not take '{way}' ({type(refusal).__name__}: {reason})"))
        return False
    coarse = is_coarse(model)
    gap, allowed = _gap(found.logp_B, wanted.logp_B, coarse)
    slope, steep = _slope(found.gradients, wanted.gradients), 0.2 if coarse else 1e-3
    if gap <= allowed and slope <= steep:
        return True
    findings.append(
        Finding(
            f"'{way}' gives other numbers than the plain way: log-probabilities differ by {gap:.1e} nats a token"
            f" (allowed {allowed:.1e}), gradients by a share of {slope:.1e} (allowed {steep:.1e}); it is not used",
            disagrees=True,
        )
    )
    return False


def _measured(model: torch.nn.Module, forms: Forms, groups: Sequence[TokenGroup], device: torch.device) -> _Figures:
    small = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim == 1]
    with torch.set_grad_enabled(bool(small)):
        logp_B, _ = CompletionLogProbs(model, forms)(forms.pack(groups, device))
        lengths = [len(ids) for group in groups for ids in group.completions]
        per_token_B = logp_B / torch.tensor(lengths, device=device)
        weights_B = torch.linspace(-1, 1, len(lengths), device=device).to(logp_B)
        gradients = torch.autograd.grad((logp_B * weights_B).sum(), small, allow_unused=True) if small else ()
    kept = tuple(gradient.double() for gradient in gradients if gradient is not None)
    return _Figures(per_token_B.detach().double(), kept)


def _gap(found_B: Tensor, wanted_B: Tensor, coarse: bool) -> tuple[float, float]:
    """The largest difference and what is allowed: a share of how much the numbers vary, or of their size's rounding."""
    of_spread, of_size = (5e-2, 1e-2) if coarse else (1e-4, 5e-6)
    allowed = max(of_spread * wanted_B.std().item(), of_size * wanted_B.abs().max().item())
    return (found_B - wanted_B).abs().nan_to_num(torch.inf).max().item(), allowed


def _slope(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference of gradients as a share of the largest gradient."""
    if len(found) != len(wanted):
        return float("inf")
    largest = max((one.abs().max().item() for one in wanted), default=0.0) or 1.0
    gaps = ((one - other).abs().nan_to_num(torch.inf).max().item() for one, other in zip(found, wanted, strict=True))
    return max(gaps, default=0.0) / largest


def _window(model: torch.nn.Module, longest: int) -> int | None:
    """How far the model's sliding layers see, if that is less than the longest sequence."""
    config: Any = getattr(model, "config", None)
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    slides = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
    return int(window) if window and slides and window < longest else None


def _rows(model: torch.nn.Module, max_prompt: int, max_completion: int, reach: int) -> list[TokenGroup]:
    """Groups of several lengths; one as long as a sequence may be where `reach` says that this matters."""
    size = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    state = 12345

    def ids(length: int, limit: int) -> list[int]:
        nonlocal state
        drawn = []
        for _ in range(min(length, limit)):
            state = (1103515245 * state + 12345) % 2**31  # a generator of its own: the global ones stay as they are
            drawn.append((state >> 8) % size)
        return drawn

    shapes = [(7, (4, 1, 6)), (3, (2, 5)), (12, (3, 3, 1, 8))]
    if reach:
        shapes.append((max_prompt, (max_completion, max(1, max_completion // 2))))
    return [
        TokenGroup(ids(prompt, max_prompt), [ids(length, max_completion) for length in completions])
        for prompt, completions in shapes
    ]


def _set_attention(model: Any, name: str) -> None:
    model.set_attn_implementation(name)
