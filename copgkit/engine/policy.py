"""What a policy is to the engine: something that knows the log-probability of a completion and can draw one.

Shapes: G groups, K completions per group (padded to the largest K of the batch).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from copgkit.types import Completion, GenerationSettings, Group, Prompt


@dataclass(frozen=True)
class EncodingReport:
    """What did not fit when groups were turned into tokens. Nothing is ever cut."""

    prompts_too_long: int = 0
    completions_too_long: int = 0
    groups_too_small: int = 0  # fewer than two completions were left


class FrozenPolicy(Protocol):
    """What a reference is asked."""

    def log_probs(self, groups: Sequence[Group]) -> Tensor:
        """As `Policy.log_probs`."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """As `Policy.generate`."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Its weights."""
        ...

    def frozen_copy(self) -> FrozenPolicy:
        """Another one with the same weights."""
        ...

    def whole(self) -> AbstractContextManager[None]:
        """While it lasts, this process may ask it for log-probabilities whether others do or not, and has all of its
        `parameters()`. All processes enter and leave."""
        ...

    def release(self) -> object:
        """Frees the memory of its weights, unless they are another policy's. Only what can load them again may be asked
        afterwards."""
        ...


class Policy(Protocol):
    """A causal language model or a tabular softmax; one training loop serves both.

    module: what the optimiser trains; the loop replaces it by accelerate's wrapped version. tokens_per_forward: how
    many tokens one forward pass may take.
    """

    module: torch.nn.Module
    tokens_per_forward: int

    def encode(self, groups: Sequence[Group]) -> tuple[list[Group], EncodingReport]:
        """Gives the groups with token ids on every completion, without those that do not fit."""
        ...

    def log_probs(self, groups: Sequence[Group]) -> Tensor:
        """ln pi(y|x) in nats [G, K]: the sum over the completion's tokens, end-of-sequence included, prompt and
        padding excluded. Entries beyond a group's own K are 0 and carry no gradient. Differentiable."""
        ...

    def log_probs_and_entropies(self, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
        """`log_probs`, and from the same pass the entropies of the next-token distributions in nats, summed over each
        completion's tokens [G, K], without gradient."""
        ...

    def forward_tokens(self, groups: Sequence[Group]) -> int:
        """Tokens that the groups take in one forward pass, padding included."""
        ...

    def num_tokens(self, groups: Sequence[Group]) -> Tensor:
        """Tokens of each completion, end-of-sequence included [G, K]; 0 beyond a group's own K."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """Draws completions; the same seed and prompt give the same ones whatever the batch size."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """What is trained."""
        ...

    def frozen_copy(self) -> Policy:
        """The reference: a copy without gradients, dropout off."""
        ...

    def whole(self) -> AbstractContextManager[None]:
        """As `FrozenPolicy.whole`."""
        ...

    def release(self) -> object:
        """As `FrozenPolicy.release`."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the model so that its usual library reads it back. Every process calls it; the main one writes."""
        ...

    def state(self) -> dict[str, Any]:
        """What a training that goes on elsewhere needs to know of it beside its weights; plain JSON data."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state."""
        ...
