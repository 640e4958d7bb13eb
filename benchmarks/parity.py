"""Whether every fast way to compute a training step gives the plain way's numbers, on a device and in a precision.

The plain way is a row for each completion with all logits, in float32. Every way takes the same step: CoPG's loss over
groups of several lengths, through `Accumulation`, as a run does. In a coarser precision the plain way is measured in
that precision too; the log-probabilities and gradients of a fast way then have to be as near to float32 as its, within
a factor of two.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.cells import Cell
from benchmarks.copgkit_training import scored_group, training_settings
from benchmarks.material import TokenGroup, draw_groups, model_folder
from benchmarks.options import Options
from benchmarks.tables import Table
from copgkit import ScoredGroup
from copgkit.engine.accelerating import make_accelerator
from copgkit.engine.accumulation import Accumulation
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.log_probs import Forms
from copgkit.engine.objectives import Objective
from copgkit.engine.reference import Example

FINE = 1e-5
"""Allowed in float32: of the loss and of the largest gradient as a share, of log-probabilities in nats a token."""


@dataclass(frozen=True)
class Way:
    """A way to take the step. options: of `CausalLMPolicy.load`; forms: parts of its forms that are set by hand; parts:
    the two-pass form, in which a group is back-propagated in parts."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    forms: dict[str, Any] = field(default_factory=dict)
    parts: bool = False


@dataclass(frozen=True)
class Step:
    """What a step gave: its loss, log-probabilities a token [B], every gradient; how prompts and logits were computed,
    and what the policy said of that; how far shared decoding was from plain forward passes, as a share of the spread of
    logits."""

    loss: float
    log_prob_B: Tensor
    gradients: Sequence[Tensor]
    forms: Forms
    findings: Sequence[str]
    decoding_gap: float | None


@dataclass(frozen=True)
class Gap:
    """How far a step is from another: loss as a share, log-probabilities in nats a token, gradients as a share of the
    largest."""

    loss: float
    log_prob: float
    gradient: float

    @classmethod
    def between(cls, one: Step, other: Step) -> Gap:
        """The largest differences. NaN counts as infinitely far."""
        largest = max(gradient.abs().max().item() for gradient in other.gradients)
        gradients = [_furthest(*pair) for pair in zip(one.gradients, other.gradients, strict=True)]
        loss = abs(one.loss - other.loss) / abs(other.loss)
        return cls(loss, _furthest(one.log_prob_B, other.log_prob_B), max(gradients) / largest)

    def within(self, allowed: Gap) -> bool:
        """Whether nothing is further away than allowed."""
        mine, theirs = vars(self).values(), vars(allowed).values()
        return all(gap <= limit for gap, limit in zip(mine, theirs, strict=True))


PLAIN = Way("plain", forms={"attention": "separate", "head": "full"})


def ways(device: str) -> list[Way]:
    """The fast ways that there are on a device."""
    mask = {"attention": "mask"}
    found = [
        Way("as chosen"),
        Way("SDPA with a block mask", {"attention": "sdpa"}, mask),
        Way("eager with a block mask", {"attention": "eager"}, mask),
        Way("logits at completions only", forms={"head": "narrow"}),
        Way("a group in parts", parts=True),
        Way("gradient checkpointing", {"gradient_checkpointing": True}),
        Way("compiled layers", {"compile_layers": True}),
    ]
    return found if device == "cpu" else [*found, Way("flex attention", {"attention": "flex_attention"}, mask)]


def measure(options: Options) -> list[Table]:
    """A row for each way at the centre's prompt and K."""
    cell = options.cell
    table = Table(
        f"Parity: {cell.dtype} on {cell.device}, prompts of up to {cell.prompt}, K = {cell.completions_per_prompt}",
        ("way", "prompts", "logits", "loss", "log-probabilities, nats a token", "gradients", "same"),
        note=f"Differences from the plain way in float32, gradients as a share of the largest. Same: within {FINE:g};"
        " in a coarser precision, log-probabilities and gradients within twice the plain way's difference.",
    )
    for way, step, gap, same in compare(cell, options):
        shown = [f"{figure:.1e}" for figure in vars(gap).values()]
        record = {"way": way.name, **vars(gap), "same": same, "decoding": step.decoding_gap}
        table.add([way.name, step.forms.attention, step.forms.head, *shown, "yes" if same else "NO"], record)
    return [table]


def compare(cell: Cell, options: Options) -> Iterator[tuple[Way, Step, Gap, bool]]:
    """Every way with what it gave, how far that is from the exact step, and whether that is near enough."""
    groups = [scored_group(group) for group in ragged(draw_groups(cell, cell.groups))]
    with model_folder(cell.shape, cell.prompt + cell.completion) as folder:
        exact = take_step(PLAIN, replace(cell, dtype="float32"), folder, groups)
        allowed = Gap(FINE, FINE, FINE)
        if cell.dtype != "float32":
            rounded = take_step(PLAIN, cell, folder, groups)
            gap = Gap.between(rounded, exact)
            allowed = Gap(math.inf, 2 * gap.log_prob, 2 * gap.gradient)  # a loss, one number, may be near by luck
            yield PLAIN, rounded, gap, True
            del rounded
        for way in ways(cell.device):
            step = take_step(way, cell, folder, groups)
            options.say(f"parity: {way.name}: {'; '.join(step.findings)}")
            gap = Gap.between(step, exact)
            yield way, step, gap, gap.within(allowed)
            del step
            gc.collect()


def take_step(way: Way, cell: Cell, folder: Path, groups: Sequence[ScoredGroup]) -> Step:
    """One step's loss and gradients; the reference's log-probabilities are numbers that no way computes."""
    policy = CausalLMPolicy.load(
        str(folder),
        max_prompt_tokens=cell.prompt,
        max_completion_tokens=cell.completion,
        device=cell.device,
        tokens_per_forward=cell.prompt + cell.completion if way.parts else None,
        **way.options,
    )
    policy.forms = replace(policy.forms, **way.forms)
    accelerator = make_accelerator(training_settings(cell).precision)
    examples = [Example(group, _reference(group)) for group in groups]
    figures = Accumulation(policy, Objective("copg", beta=0.1), accelerator).over(examples)
    with torch.no_grad(), accelerator.autocast():
        log_prob_GK = policy.log_probs([group.group for group in groups])
    gradients = [parameter.grad for parameter in policy.parameters() if parameter.grad is not None]
    tokens_GK = policy.num_tokens([group.group for group in groups])
    return Step(
        figures.row()["train/loss/mean"],
        (log_prob_GK / tokens_GK).flatten(),
        gradients,
        policy.forms,
        [finding.text for finding in policy.findings],
        policy.way.gap,
    )


def ragged(groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """The groups with prompts and completions of different lengths: each a little shorter than the one before it."""
    return [
        TokenGroup(
            group.prompt[: max(1, len(group.prompt) - 3 * g)],
            tuple(ids[min(g + 2 * k, len(ids) - 1) :] for k, ids in enumerate(group.completions)),
            group.rewards,
        )
        for g, group in enumerate(groups)
    ]


def _reference(group: ScoredGroup) -> tuple[float, ...]:
    """8 nats a token, more or less."""
    return tuple(
        -8.0 * len(one.token_ids or ()) + reward
        for one, reward in zip(group.group.completions, group.rewards, strict=True)
    )


def _furthest(one: Tensor, other: Tensor) -> float:
    return (one.double() - other.double()).abs().nan_to_num(torch.inf).max().item()
