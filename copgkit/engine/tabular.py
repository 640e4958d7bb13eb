"""A softmax over a few named completions for every prompt: the policy of a bandit, where everything can be checked.

A state is a distinct prompt; its logits start at the logarithm of the reference probabilities.
Legend: G groups, K completions of the largest group, A arms, S states, R rows.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from copgkit.engine import ranks
from copgkit.engine.policy import EncodingReport
from copgkit.engine.sampling import choose, stream_names, uniforms
from copgkit.errors import DataError, ModelError
from copgkit.types import Completion, GenerationSettings, Group, Prompt


class _Table(torch.nn.Module):
    """The logits of every state [S, A]."""

    def __init__(self, start_A: Tensor, states: int) -> None:
        super().__init__()
        self.logits_SA = torch.nn.Parameter(start_A.repeat(states, 1))

    def forward(self, state_R: Tensor) -> Tensor:
        """ln pi of the arms in these states [R, A]."""
        return self.logits_SA[state_R].log_softmax(-1)


class TabularPolicy:
    """A tabular softmax policy; completions are the arms' names.

    Room for max_prompts states is there from the start, so that an optimiser trains those that come up later too; a
    prompt takes the next free state when it is first met.
    """

    def __init__(
        self,
        arms: Sequence[str],
        reference_probs: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float64,
        max_prompts: int = 1024,
    ) -> None:
        """reference_probs: positive, one for each arm, uniform if not given; they are divided by their sum. Raises
        ModelError."""
        weights = [1.0] * len(arms) if reference_probs is None else list(reference_probs)
        _require_sound(arms, weights)
        self.arms = tuple(arms)
        self.tokens_per_forward = 1_000_000  # a row of the table takes next to nothing
        self._reference_A = torch.tensor(weights, dtype=dtype) / sum(weights)
        self.module: torch.nn.Module = _Table(self._reference_A.log(), max_prompts)
        self._states: dict[str, int] = {}

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float64) -> TabularPolicy:
        """The policy that `save` wrote into the folder."""
        saved = json.loads((folder / "tabular.json").read_text(encoding="utf-8"))
        policy = cls(saved["arms"], saved["reference_probabilities"], dtype)
        for state in saved["states"]:
            content = state["prompt"] if isinstance(state["prompt"], str) else tuple(state["prompt"])
            logits_A = torch.tensor(state["logits"], dtype=dtype)
            policy._table.logits_SA.data[policy._state(Prompt(content))] = logits_A
        return policy

    def probabilities(self, prompt: Prompt) -> Tensor:
        """pi(arm|prompt) [A], without gradient."""
        with torch.no_grad():
            return self._log_probs_RA([prompt])[0].exp()

    def encode(self, groups: Sequence[Group]) -> tuple[list[Group], EncodingReport]:
        """The groups with the arm's index as every completion's one token id. Raises DataError for an unknown arm."""
        kept = []
        for group in groups:
            self._state(group.prompt)  # in this order in every process, whichever of the groups it then works on
            completions = tuple(replace(one, token_ids=(self._arm(one),)) for one in group.completions)
            if len(completions) >= 2:
                kept.append(replace(group, completions=completions))
        return kept, EncodingReport(groups_too_small=len(groups) - len(kept))

    def log_probs(self, groups: Sequence[Group]) -> Tensor:
        """ln pi(arm|prompt) in nats [G, K]; 0 without gradient beyond a group's own K."""
        arm_GK, present_GK = self._arms_of(groups)
        logp_GA = self._log_probs_RA([group.prompt for group in groups])
        return logp_GA.gather(1, arm_GK).masked_fill(~present_GK, 0.0)

    def log_probs_and_entropies(self, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
        """`log_probs`, and the entropies of the arms for each completion's prompt in nats [G, K], without gradient."""
        with torch.no_grad():
            logp_GA = self._log_probs_RA([group.prompt for group in groups])
        present_GK = self._arms_of(groups)[1]
        return self.log_probs(groups), -(logp_GA.exp() * logp_GA).sum(1, keepdim=True) * present_GK

    def forward_tokens(self, groups: Sequence[Group]) -> int:
        """What the groups look up: an entry of the table for each completion."""
        return sum(len(group.completions) for group in groups)

    def num_tokens(self, groups: Sequence[Group]) -> Tensor:
        """1 for every completion [G, K]; 0 beyond a group's own K."""
        return self._arms_of(groups)[1].long()

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """Draws arms; one depends on the seed, the prompt's content and its number among those of the same content."""
        with torch.no_grad():
            logp_RA = self._log_probs_RA(prompts).repeat_interleave(completions_per_prompt, dim=0)
        streams = stream_names(prompts, completions_per_prompt, settings.seed)
        uniform_R = torch.tensor([uniforms(name, 1)[0] for row in streams for name in row], dtype=torch.float64)
        drawn = iter(choose(logp_RA, uniform_R.to(logp_RA.device), settings.temperature, settings.top_p)[0].tolist())
        return [[self._completion(prompt, next(drawn)) for _ in range(completions_per_prompt)] for prompt in prompts]

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """What is trained: the logits of all states."""
        return self.module.parameters()

    def frozen_copy(self) -> TabularPolicy:
        """The reference: the logits as they are now, without gradients.

        Which prompt has which state stays common to both, so that a reference can follow the policy row by row.
        """
        frozen = copy.copy(self)
        frozen.module = copy.deepcopy(self._table).requires_grad_(False)
        return frozen

    def whole(self) -> AbstractContextManager[None]:
        """Every process has the whole table."""
        return nullcontext()

    def release(self) -> None:
        """A table takes little; it stays."""

    def save(self, folder: Path) -> None:
        """Writes arms, reference probabilities and the logits of every state to `tabular.json`."""
        if not ranks.is_main():
            return
        folder.mkdir(parents=True, exist_ok=True)
        states = [
            {"prompt": json.loads(key), "logits": self._table.logits_SA[index].tolist()}
            for key, index in self._states.items()
        ]
        data = {"arms": self.arms, "reference_probabilities": self._reference_A.tolist(), "states": states}
        (folder / "tabular.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def state(self) -> dict[str, Any]:
        """Which prompt has which state."""
        return {"states": list(self._states)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The same states for the same prompts, also for the copies of this policy."""
        self._states.clear()
        self._states.update({key: number for number, key in enumerate(state["states"])})

    @property
    def _table(self) -> _Table:
        # accelerate's own unwrapping looks for optional packages at every call, and this is called for every prompt.
        return cast(_Table, getattr(self.module, "module", self.module))

    def _log_probs_RA(self, prompts: Sequence[Prompt]) -> Tensor:
        states = [self._state(prompt) for prompt in prompts]
        log_probs: Tensor = self.module(torch.tensor(states, device=self._table.logits_SA.device))
        return log_probs

    def _state(self, prompt: Prompt) -> int:
        """The prompt's state; the next free one if it is new."""
        state = self._states.setdefault(prompt.content_key, len(self._states))
        room = len(self._table.logits_SA)
        if state >= room:
            raise ModelError(f"{prompt.place}: a tabular policy with room for {room} prompts met one more. Use fewer.")
        return state

    def _arm(self, completion: Completion) -> int:
        if completion.text not in self.arms:
            raise DataError(
                f"{completion.prompt.place}: {completion.text!r} is not an arm of this policy. Known:"
                f" {', '.join(self.arms)}."
            )
        return self.arms.index(completion.text)

    def _arms_of(self, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
        """The arm of each completion [G, K], and whether the group has such a completion [G, K]."""
        widest = max(len(group.completions) for group in groups)
        rows = [[self._arm(one) for one in group.completions] for group in groups]
        arm_GK = torch.tensor([row + [-1] * (widest - len(row)) for row in rows], device=self._table.logits_SA.device)
        return arm_GK.clamp(min=0), arm_GK >= 0

    def _completion(self, prompt: Prompt, arm: int) -> Completion:
        return Completion(prompt, self.arms[arm], token_ids=(arm,))


def _require_sound(arms: Sequence[str], weights: Sequence[float]) -> None:
    if len(set(arms)) != len(arms) or len(arms) < 2:
        raise ModelError(f"policy.arms: {list(arms)}. Give at least two names, no two alike.")
    if len(weights) != len(arms) or min(weights) <= 0:
        raise ModelError(f"policy.reference: {list(weights)}. Give one positive number for each of {len(arms)} arms.")
