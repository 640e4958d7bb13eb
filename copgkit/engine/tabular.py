"""A softmax over a few named completions: the policy of a bandit, exact and in double precision."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from copgkit.engine.policy import EncodingReport
from copgkit.errors import DataError
from copgkit.types import Completion, GenerationSettings, Group, Prompt


class TabularPolicy:
    """One logit per completion ("arm"), the same for every prompt; it starts at the reference.

    arms: the texts of the N completions. reference_probs: N positive numbers, normalised here; uniform by default.
    """

    def __init__(self, arms: Sequence[str], reference_probs: Sequence[float] | None = None) -> None:
        self.arms = tuple(arms)
        self._index = {arm: index for index, arm in enumerate(self.arms)}
        weights = torch.tensor(reference_probs or [1.0] * len(self.arms), dtype=torch.float64)
        self.module: nn.Module = nn.ParameterDict({"logits": nn.Parameter((weights / weights.sum()).log())})

    def probabilities(self, prompt: Prompt | None = None) -> Tensor:
        """pi(arm) of every arm [N], without gradient; the prompt makes no difference."""
        return self._log_probabilities().detach().exp()

    def encode(self, groups: Sequence[Group]) -> tuple[list[Group], EncodingReport]:
        """The groups with the arm's number as the only token of each completion."""
        return [
            replace(group, completions=tuple(map(self._encoded, group.completions))) for group in groups
        ], EncodingReport()

    def log_probs(self, groups: Sequence[Group]) -> Tensor:
        """ln pi of each completion [G, K]; 0 beyond a group's own K."""
        widest = max(len(group.completions) for group in groups)
        rows = [[completion.token_ids[0] for completion in group.completions] for group in groups]  # type: ignore[index]
        index_GK = torch.tensor([row + [-1] * (widest - len(row)) for row in rows])
        return torch.where(index_GK >= 0, self._log_probabilities()[index_GK.clamp(min=0)], 0.0)

    def num_tokens(self, groups: Sequence[Group]) -> Tensor:
        """1 for every completion [G, K]; 0 beyond a group's own K."""
        widest = max(len(group.completions) for group in groups)
        return torch.tensor([[1.0] * len(g.completions) + [0.0] * (widest - len(g.completions)) for g in groups])

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """Draws arms; temperature divides the logits, 0 takes the likeliest."""
        logits = self._log_probabilities().detach()
        weights = (
            (logits / settings.temperature).softmax(0) if settings.temperature else (logits == logits.max()).double()
        )
        drawn = []
        for prompt in prompts:
            chance = random.Random(f"{settings.seed}|{prompt.id}|{prompt.text}")
            indices = chance.choices(range(len(self.arms)), weights.tolist(), k=completions_per_prompt)
            drawn.append([Completion(prompt, self.arms[index], (index,)) for index in indices])
        return drawn

    def parameters(self) -> Iterator[nn.Parameter]:
        """The logits."""
        return self.module.parameters()

    def frozen_copy(self) -> TabularPolicy:
        """The reference: the same logits, without gradient."""
        copy = deepcopy(self)
        copy.module.requires_grad_(False)
        return copy

    def save(self, folder: Path) -> None:
        """Writes `policy.json`: the probability of each arm."""
        folder.mkdir(parents=True, exist_ok=True)
        table = dict(zip(self.arms, self.probabilities().tolist(), strict=True))
        (folder / "policy.json").write_text(json.dumps(table, indent=2) + "\n")

    def _log_probabilities(self) -> Tensor:
        return next(self.module.parameters()).log_softmax(0)

    def _encoded(self, completion: Completion) -> Completion:
        if completion.text not in self._index:
            raise DataError(
                f"{completion.prompt.place}: {completion.text!r} is no arm. The arms: {', '.join(self.arms)}."
            )
        return replace(completion, token_ids=(self._index[completion.text],))
