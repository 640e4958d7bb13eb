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

import hashlib
import itertools
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from accelerate import Accelerator
from transformers import get_scheduler

from copgkit import interrupts
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


class Training:
    """A policy in training: its optimiser, its schedule, and how far it is.

    step: steps taken; tried: those of the present round, with those that were not taken. order: the state of the
    shuffling random numbers when the round began. trail: a name for the weights, made of every loss and gradient so
    far. engine/checkpoints.py says what a run needs of it to go on.
    """

    def __init__(
        self,
        policy: Policy,
        objective: Objective,
        settings: TrainingSettings,
        total_steps: int,
        accelerator: Accelerator | None = None,
        reference: Reference | None = None,
        tell: Callable[[str], None] = lambda text: None,
        keep_bad: Keep = lambda count, step, examples: None,
    ) -> None:
        """reference: the one that the rounds were seen by, if it is to follow the policy. tell: gets what a user should
        know. keep_bad(count, step, examples): gets the groups of a step that was not taken (engine/bad_steps.py)."""
        self.policy, self.settings, self.total_steps, self.reference = policy, settings, total_steps, reference
        self.accelerator = accelerator or make_accelerator(settings.precision)
        self.optimiser = prepare(self.accelerator, policy, settings)
        warmup = math.ceil(settings.warmup * total_steps)
        self.scheduler = get_scheduler(settings.schedule, self.optimiser, warmup, total_steps)
        self.accumulation = Accumulation(policy, objective, self.accelerator, tell, settings.log_entropy)
        self.guard = BadSteps(policy, self.optimiser, settings.max_bad_steps, keep_bad, tell)
        self.shuffler = random.Random(settings.seed)
        self.order = self.shuffler.getstate()
        self.step = self.tried = 0
        self.trail = ""

    def over(
        self,
        rounds: Iterable[Sequence[Example]],
        on_step: Callable[[int, dict[str, float]], None] = lambda step, row: None,
        between: Callable[[int], None] = lambda step: None,
    ) -> int:
        """Trains until the rounds or total_steps end, and gives the number of steps taken.

        rounds is asked for its next element only when the last one is used up, so that it may draw from the policy as
        it then is. on_step(step, row) is called at the end of every step, as a part of it that no signal divides; row
        is empty on steps that are not logged. between(step) is called after it.
        """
        for examples in rounds:
            self.order = self.shuffler.getstate()
            steps = _steps_of(examples, self.settings, self.shuffler)
            for step_examples in itertools.islice(steps, self.tried, None):
                if self.step >= self.total_steps:
                    break
                with interrupts.held_back():
                    row = self._take(step_examples)
                    if row is not None:
                        on_step(self.step, row)
                interrupts.leave_if_asked()
                if row is not None:
                    between(self.step)
            if self.step >= self.total_steps:
                break
            self.tried = 0
        return self.step

    def _take(self, examples: Sequence[Example]) -> dict[str, float] | None:
        """One step, and what is to be logged of it; None for one that was not taken. Raises TrainingError, and
        Interrupted between forward passes; the weights are then as they were."""
        started = time.perf_counter()
        if self.reference is not None:
            examples = self.reference.now(examples)
        figures = self.accumulation.over(examples)
        limit = self.settings.max_grad_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.policy.parameters(), limit).item()
        self.tried += 1
        self.trail = hashlib.sha256(f"{self.trail} {norm!r} {figures.sums['loss']!r}".encode()).hexdigest()
        if self.guard.refuses(self.step + 1, norm, figures.sums["loss"], examples):
            return None
        rate = self.scheduler.get_last_lr()[0]
        self.optimiser.step()
        self.scheduler.step()
        self.optimiser.zero_grad()
        self.step += 1
        if self.reference is not None:
            self.reference.follow(self.policy, self.step)
        row = _row(self.step, figures, norm, rate, time.perf_counter() - started, self.settings)
        return row and row | self.guard.figures()


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
    """Trains the policy on the rounds from its first step on: `Training` with everything as it comes."""
    training = Training(policy, objective, settings, total_steps, accelerator, reference, tell, keep_bad)
    return training.over(rounds, on_step)


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
