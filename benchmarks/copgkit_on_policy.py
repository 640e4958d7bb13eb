"""copgkit's side of the on-policy step: sampler `policy`, panel, reference and `align`, joined as a run joins them.

Every step begins with a round of fresh groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell
from benchmarks.copgkit_training import training_settings
from benchmarks.material import TokenGroup, text_of
from benchmarks.timing import Watch
from copgkit import Completion, Progress, Prompt, RewardSource, SamplerContext, Score
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.judge import Judge
from copgkit.engine.objectives import Objective
from copgkit.engine.reference import Reference
from copgkit.engine.rounds import Rounds
from copgkit.engine.scoring import Panel
from copgkit.engine.training import align
from copgkit_samplers import PolicySampler


def reward_of(text: str) -> float:
    """A reward that costs nothing: the numbers of the first words."""
    return sum(int(word[1:]) for word in text.split()[:8]) / 1000


class FirstWords(RewardSource):
    """That reward as a source."""

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One for each."""
        return [Score(reward_of(completion.text)) for completion in completions]


class CopgkitOnPolicy:
    """Takes optimiser steps, each on groups that the policy has just written."""

    name = "copgkit"

    def __init__(self, cell: Cell, folder: Path, groups: Sequence[TokenGroup], watch: Watch) -> None:
        """Loads the model and freezes the reference."""
        self.policy = CausalLMPolicy.load(
            str(folder), max_prompt_tokens=cell.prompt, max_completion_tokens=cell.completion, device=cell.device
        )
        self.cell, self.watch = cell, watch
        self.reference = Reference(self.policy.frozen_copy())
        self.prompts = [Prompt(text_of(group.prompt)) for group in groups]
        self.settings = training_settings(cell)

    def run(self, steps: int) -> list[Any]:
        """What each of so many steps took, after one in which the optimiser's state comes into being."""
        self.watch.start()
        align(
            self.policy,
            self._rounds(),
            Objective("copg", beta=0.1),
            self.settings,
            steps + 1,
            on_step=lambda step, row: self.watch.lap(),
        )
        return self.watch.laps[1:]

    def _rounds(self) -> Rounds:
        context = SamplerContext(name="policy", prompts=self.prompts, policy=self.policy, device=self.cell.device)
        options = PolicySampler.Options(completions_per_prompt=self.cell.completions_per_prompt, every=1)
        return Rounds(
            sampler=PolicySampler(options, context),
            policy=self.policy,
            reference=self.reference,
            panel=Panel([Judge("first-words", FirstWords())]),
            groups_per_step=self.cell.groups,
            keep=lambda number, groups: None,
            log=lambda figures: None,
            progress=Progress(),
        )
