"""The training loop. It reads like the paper's algorithm; everything else is behind a name.

    for each round of scored groups:            (offline: one round; on-policy: a new one every step)
        for each step's groups:
            loss = mean over groups of the objective(log pi, log pi_ref, rewards)
            step along its gradient
            (the reference may follow the policy; in the paper it does not)

The gradient of a step is the same however many forward passes and processes it is computed in
(engine/accumulation.py); each process works on its share of a step's groups.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from accelerate import Accelerator
from transformers import get_scheduler

from copgkit.engine.accelerating import make_accelerator, prepare
from copgkit.engine.accumulation import Accumulation
from copgkit.engine.bad_steps import BadSteps, Keep
from copgkit.engine.batches import StepFigures
from copgkit.engine.objectives import Objective
from copgkit.engine.policy import Policy
from copgkit.engine.reference import Example, Reference


@dataclass(frozen=True)
class TrainingSettings:
    """How the objective is minimised; the keys of a recipe's `train` section, explained there."""

    epochs: int = 1
    groups_per_step: int = 32
    learning_rate: float = 1e-5
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    max_bad_steps: int = 3
    precision: Literal["float32", "bf16"] = "float32"
    shard: bool = False
    log_every: int = 1
    log_entropy: bool = False
    seed: int = 0

    def steps_for(self, num_groups: int) -> int:
        """Optimiser steps that all epochs over num_groups groups take."""
        return self.epochs * math.ceil(num_groups / self.groups_per_step)


def align(
    policy: Policy,
    rounds: Iterable[Sequence[Example]],
    objective: Objective,
    settings: TrainingSettings,
    total_steps: int,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, row: None,
    accelerator: Accelerator | None = None,
    reference: Reference | None = None,
    tell: Callable[[str], None] = lambda text: None,
    keep_bad: Keep = lambda count, step, examples: None,
) -> int:
    """Trains the policy on the rounds until they or total_steps end, and gives the number of steps taken.

    rounds is asked for its next element only when the last one is used up, so that it may draw from the policy as it
    then is. on_step(step, row) is called after every step; row is empty on steps that are not logged.
    reference: the one that the rounds were seen by, if it is to follow the policy. tell: gets what a user should know.
    keep_bad(count, step, examples): gets the groups of a step that was not taken (engine/bad_steps.py).
    """
    accelerator = accelerator or make_accelerator(settings.precision)
    optimiser = prepare(accelerator, policy, settings)
    scheduler = get_scheduler(settings.schedule, optimiser, math.ceil(settings.warmup * total_steps), total_steps)
    accumulation = Accumulation(policy, objective, accelerator, tell, settings.log_entropy)
    guard = BadSteps(policy, optimiser, settings.max_bad_steps, keep_bad, tell)
    shuffler = random.Random(settings.seed)
    step = 0
    for examples in rounds:
        for step_examples in _steps_of(examples, settings, shuffler):
            started = time.perf_counter()
            if reference is not None:
                step_examples = reference.now(step_examples)
            figures = accumulation.over(step_examples)
            norm = accelerator.clip_grad_norm_(policy.parameters(), settings.max_grad_norm or math.inf).item()
            if guard.refuses(step + 1, norm, figures.sums["loss"], step_examples):
                continue
            rate = scheduler.get_last_lr()[0]
            optimiser.step()
            scheduler.step()
            optimiser.zero_grad()
            step += 1
            if reference is not None:
                reference.follow(policy, step)
            row = _row(step, figures, norm, rate, time.perf_counter() - started, settings)
            on_step(step, row and row | guard.figures())
            if step >= total_steps:
                return step
    return step


def _steps_of(
    examples: Sequence[Example], settings: TrainingSettings, shuffler: random.Random
) -> Iterator[list[Example]]:
    """The groups of every step of a round: each epoch passes over all of them once, in a new order."""
    for _ in range(settings.epochs):
        order = list(examples)
        shuffler.shuffle(order)
        for start in range(0, len(order), settings.groups_per_step):
            yield order[start : start + settings.groups_per_step]


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
