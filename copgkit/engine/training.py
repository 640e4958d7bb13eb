"""The training loop. It reads like the paper's algorithm; everything else is behind a name.

    for each round of scored groups:            (offline: one round; on-policy: a new one every step)
        for each step's groups:
            loss = mean over groups of the objective(log pi, log pi_ref, rewards)
            step along its gradient
            (the reference may follow the policy; in the paper it does not)

Groups are never split: a micro-batch holds whole groups, and the gradient of a step is the same however many
micro-batches and processes it is computed in. Each process works on its share of a step's groups.
"""

from __future__ import annotations

import math
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor
from transformers import get_scheduler

from copgkit.engine import ranks
from copgkit.engine.objectives import Objective, all_pairs, regularised_reward, residual
from copgkit.engine.policy import Policy
from copgkit.engine.reference import Example, Reference
from copgkit.errors import TrainingError
from copgkit.types import ScoredGroup


@dataclass(frozen=True)
class TrainingSettings:
    """How the objective is minimised; the keys of a recipe's `train` section, explained there."""

    epochs: int = 1
    groups_per_step: int = 32
    groups_per_forward: int | None = None
    learning_rate: float = 1e-5
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    precision: Literal["float32", "bf16"] = "float32"
    log_every: int = 1
    seed: int = 0

    def steps_for(self, num_groups: int) -> int:
        """Optimiser steps that all epochs over num_groups groups take."""
        return self.epochs * math.ceil(num_groups / self.groups_per_step)


@dataclass
class StepFigures:
    """Running sums over the micro-batches of one step, and the metrics made from them."""

    groups: int = 0
    completions: float = 0.0
    tokens: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, batch: Batch, logp_GK: Tensor, loss_G: Tensor, beta: float) -> None:
        """Takes in one micro-batch; nothing here carries a gradient."""
        valid_GK, log_ratio_GK = batch.valid_GK, logp_GK - batch.ref_logp_GK
        regularised_GK = regularised_reward(logp_GK, batch.ref_logp_GK, batch.reward_GK, beta)
        self.groups += len(loss_G)
        self.completions += valid_GK.sum().item()
        self.tokens += batch.num_tokens_GK.sum().item()
        for name, per_group_G in {
            "loss": loss_G,
            "residual": residual(regularised_GK, batch.pair_weight_GKK),
            "best": _extreme(logp_GK, batch, 1),
            "worst": _extreme(logp_GK, batch, -1),
        }.items():
            self._add(name, per_group_G.sum())
        for name, value_GK in {"reward": batch.reward_GK, "log_ratio": log_ratio_GK, "log_prob": logp_GK}.items():
            self._add(name, (valid_GK * value_GK).sum())

    def over_all_processes(self) -> StepFigures:
        """The sums over what every process has taken in."""
        own = {"groups": self.groups, "completions": self.completions, "tokens": self.tokens}
        total = ranks.summed(own | self.sums)
        return StepFigures(int(total["groups"]), total["completions"], total["tokens"], total)

    def row(self) -> dict[str, float]:
        """The metrics of the step: means over its groups or completions."""
        per_group, per_completion = 1 / self.groups, 1 / self.completions
        return {
            "train/loss/mean": self.sums["loss"] * per_group,
            "train/reward/mean": self.sums["reward"] * per_completion,
            "train/residual/rms": math.sqrt(max(self.sums["residual"] * per_group, 0.0)),
            "train/log-ratio/mean": self.sums["log_ratio"] * per_completion,
            "train/log-prob/mean": self.sums["log_prob"] * per_completion,
            "train/log-prob-best/mean": self.sums["best"] * per_group,
            "train/log-prob-worst/mean": self.sums["worst"] * per_group,
        }

    def _add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value.item()


@dataclass(frozen=True)
class Batch:
    """Whole groups as tensors on the policy's device; absent completions are 0 everywhere."""

    groups: Sequence[ScoredGroup]
    reward_GK: Tensor
    ref_logp_GK: Tensor
    valid_GK: Tensor
    pair_weight_GKK: Tensor
    num_tokens_GK: Tensor


def align(
    policy: Policy,
    rounds: Iterable[Sequence[Example]],
    objective: Objective,
    settings: TrainingSettings,
    total_steps: int,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, row: None,
    accelerator: Accelerator | None = None,
    reference: Reference | None = None,
) -> int:
    """Trains the policy on the rounds until they or total_steps end, and gives the number of steps taken.

    rounds is asked for its next element only when the last one is used up, so that it may draw from the policy as it
    then is. on_step(step, row) is called after every step; row is empty on steps that are not logged.
    reference: the one that the rounds were seen by, if it is to follow the policy.
    """
    accelerator = accelerator or make_accelerator(settings)
    optimiser: torch.optim.Optimizer = torch.optim.AdamW(
        policy.parameters(), lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
    policy.module, optimiser = _prepared(accelerator, policy.module, optimiser)
    scheduler = get_scheduler(settings.schedule, optimiser, math.ceil(settings.warmup * total_steps), total_steps)
    shuffler = random.Random(settings.seed)
    step = 0
    for examples in rounds:
        for step_examples in _steps_of(examples, settings, shuffler):
            started = time.perf_counter()
            if reference is not None:
                step_examples = reference.now(step_examples)
            figures = _accumulate(policy, step_examples, objective, settings, accelerator)
            norm = accelerator.clip_grad_norm_(policy.parameters(), settings.max_grad_norm or math.inf).item()
            _require_finite(step + 1, norm, figures, step_examples)
            rate = scheduler.get_last_lr()[0]
            optimiser.step()
            scheduler.step()
            optimiser.zero_grad()
            step += 1
            if reference is not None:
                reference.follow(policy, step)
            on_step(step, _row(step, figures, norm, rate, time.perf_counter() - started, settings))
            if step >= total_steps:
                return step
    return step


def make_accelerator(
    settings: TrainingSettings, trackers: Sequence[str] = (), folder: Path | None = None
) -> Accelerator:
    """accelerate's Accelerator for these settings, with trackers such as "tensorboard" writing into folder."""
    wanted = "bf16" if settings.precision == "bf16" else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", wanted) != wanted:
        AcceleratorState._reset_state()  # accelerate keeps one state a process; an earlier run had another precision
    # Buffers never change, and sending them along would make every forward pass wait for the other processes.
    parallel = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    return Accelerator(
        mixed_precision=wanted, log_with=list(trackers) or None, project_dir=folder, kwargs_handlers=[parallel]
    )


def collate(policy: Policy, examples: Sequence[Example]) -> Batch:
    """Whole groups as padded tensors, in the type and on the device of the policy's parameters."""
    like = next(policy.parameters())
    groups = [example.scored for example in examples]
    widest = max(len(group.rewards) for group in groups)

    def padded(rows: Iterable[Sequence[float]]) -> Tensor:
        # float64 on the way: rewards and log-probabilities are exact Python floats until they meet the policy's type.
        filled = [list(row) + [0.0] * (widest - len(row)) for row in rows]
        dtype = like.dtype if like.dtype == torch.float64 else torch.float32
        return torch.tensor(filled, dtype=torch.float64).to(like.device, dtype)

    valid_GK = padded([1.0] * len(group.rewards) for group in groups)
    return Batch(
        groups=groups,
        reward_GK=padded(group.rewards for group in groups),
        ref_logp_GK=padded(example.ref_log_probs for example in examples),
        valid_GK=valid_GK,
        pair_weight_GKK=_pair_weights(groups, valid_GK),
        num_tokens_GK=policy.num_tokens([group.group for group in groups]).to(valid_GK),
    )


def _prepared(
    accelerator: Accelerator, module: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Both as accelerate wraps them for the processes there are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # accelerate's to mend
        wrapped: tuple[torch.nn.Module, torch.optim.Optimizer] = accelerator.prepare(module, optimiser)
    return wrapped


def _steps_of(
    examples: Sequence[Example], settings: TrainingSettings, shuffler: random.Random
) -> Iterator[list[Example]]:
    """The groups of every step of a round: each epoch passes over all of them once, in a new order."""
    for _ in range(settings.epochs):
        order = list(examples)
        shuffler.shuffle(order)
        for start in range(0, len(order), settings.groups_per_step):
            yield order[start : start + settings.groups_per_step]


def _accumulate(
    policy: Policy,
    step_examples: Sequence[Example],
    objective: Objective,
    settings: TrainingSettings,
    accelerator: Accelerator,
) -> StepFigures:
    """Adds up the gradient of the mean loss over the step's groups, of which this process takes its share, a
    micro-batch at a time."""
    figures = StepFigures()
    # Groups of similar length share a forward pass, so that little of it is padding; the sum does not mind the order.
    by_length = sorted(step_examples, key=_length)
    own = ranks.share_of(by_length)
    size = settings.groups_per_forward or len(step_examples)
    parts = [own[start : start + size] for start in range(0, len(own), size)]
    passes = max(ranks.gathered(len(parts)))
    for number in range(passes):
        with accelerator.no_sync(policy.module) if number < passes - 1 else nullcontext():
            batch = collate(policy, parts[number] if number < len(parts) else by_length[:1])
            with accelerator.autocast():
                logp_GK = policy.log_probs([scored.group for scored in batch.groups])
            if number >= len(parts):  # the others wait for this process's gradients, and it has none to give
                accelerator.backward(0 * logp_GK.sum())
                continue
            loss_G = objective(
                logp_GK, batch.ref_logp_GK, batch.reward_GK, batch.valid_GK, batch.pair_weight_GKK, batch.num_tokens_GK
            )
            # The mean is over the groups of all processes, and gradients are averaged over processes after this.
            accelerator.backward(loss_G.sum() * ranks.count() / len(step_examples))
            figures.add(batch, logp_GK.detach(), loss_G.detach(), objective.beta)
    return figures.over_all_processes()


def _require_finite(step: int, norm: float, figures: StepFigures, examples: Sequence[Example]) -> None:
    loss = figures.sums["loss"]
    if math.isfinite(norm) and math.isfinite(loss):
        return
    places = ", ".join(example.scored.group.prompt.place for example in examples[:3])
    raise TrainingError(
        f"step {step}: the loss is {loss} and the gradient norm {norm}; the step was not taken. Its first prompts:"
        f" {places}. Lower the learning rate, raise beta, or set objective.clip; float32 instead of bf16 also helps."
    )


def _row(
    step: int, figures: StepFigures, norm: float, rate: float, seconds: float, settings: TrainingSettings
) -> dict[str, float]:
    if step % settings.log_every and step != 1:
        return {}
    return figures.row() | {
        "train/gradient-norm/value": norm,
        "train/learning-rate/value": rate,
        "train/tokens-per-second/value": figures.tokens / max(seconds, 1e-9),
    }


def _pair_weights(groups: Sequence[ScoredGroup], valid_GK: Tensor) -> Tensor:
    pair_weight_GKK = all_pairs(valid_GK)
    for g, scored in enumerate(groups):
        weights = scored.group.pair_weights
        if weights is not None:
            size = len(weights)
            pair_weight_GKK[g, :size, :size] *= torch.tensor(weights).to(pair_weight_GKK)
    return pair_weight_GKK


def _extreme(logp_GK: Tensor, batch: Batch, sign: int) -> Tensor:
    """ln pi of the completion with the highest (sign 1) or lowest (sign -1) reward of each group [G]."""
    ranked_GK = (sign * batch.reward_GK).masked_fill(batch.valid_GK == 0, -torch.inf)
    return logp_GK.gather(1, ranked_GK.argmax(-1, keepdim=True)).squeeze(1)


def _length(example: Example) -> int:
    return sum(len(completion.token_ids or ()) for completion in example.scored.group.completions) + len(
        example.scored.group.prompt.text
    )
