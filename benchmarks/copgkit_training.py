"""copgkit's side of the training step: `CausalLMPolicy` and `align` as a run uses them, on scored groups.

Every default of copgkit stands, but for what the cell says. The reference's log-probabilities are computed before the
clock starts, as on TRL's side.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from benchmarks.cells import Cell
from benchmarks.material import TokenGroup, text_of
from benchmarks.timing import Watch
from copgkit import Completion, Group, Prompt, Score, ScoredGroup
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.objectives import Objective
from copgkit.engine.reference import Reference
from copgkit.engine.training import TrainingSettings, align


class CopgkitTraining:
    """Takes optimiser steps on whole groups."""

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        groups: Sequence[TokenGroup],
        watch: Watch,
        name: str = "copgkit",
        compiled: bool = False,
    ) -> None:
        """Loads the model and computes what the reference says of all groups. Every step takes its groups in order."""
        self.name = name
        self.policy = CausalLMPolicy.load(
            str(folder),
            max_prompt_tokens=cell.prompt,
            max_completion_tokens=cell.completion,
            device=cell.device,
            tokens_per_forward=cell.groups_per_forward and cell.groups_per_forward * cell.group_tokens,
            compile_layers=compiled,
        )
        examples = Reference(self.policy.frozen_copy()).examples([scored_group(group) for group in groups])
        self.steps = [examples[start : start + cell.groups] for start in range(0, len(examples), cell.groups)]
        self.settings = training_settings(cell)
        self.watch = watch

    def run(self, steps: int, accelerator: Accelerator | None = None) -> list[Any]:
        """What each of so many steps took. One more goes before them: every call of `align` makes an optimiser, whose
        state comes into being in its first step."""
        self.watch.start()
        align(
            self.policy,
            itertools.cycle(self.steps),
            Objective("copg", beta=0.1),
            self.settings,
            steps + 1,
            on_step=lambda step, row: self.watch.lap(),
            accelerator=accelerator,
        )
        return self.watch.laps[1:]


def training_settings(cell: Cell) -> TrainingSettings:
    """copgkit's settings: its defaults, but for what the cell says and a constant learning rate."""
    return TrainingSettings(
        groups_per_step=cell.groups,
        schedule="constant",
        warmup=0.0,
        precision="bf16" if cell.dtype == "bf16" else "float32",
    )


def scored_group(group: TokenGroup) -> ScoredGroup:
    """The group as copgkit's data."""
    prompt = Prompt(text_of(group.prompt))
    completions = tuple(Completion(prompt, text_of(ids), token_ids=ids) for ids in group.completions)
    return ScoredGroup(Group(prompt, completions), {"r": [Score(reward) for reward in group.rewards]}, group.rewards)
