"""A frozen policy that is in memory only while it is asked.

    reference = OnDemand(policy.frozen_copy(), load)
    reference.release()                       # training has the memory for itself
    reference.log_probs(groups)               # loads the weights again

Limits: what comes back is what `load` gives, so a policy that has been changed must not be released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from copgkit.engine.policy import FrozenPolicy
from copgkit.types import Completion, GenerationSettings, Group, Prompt


class OnDemand:
    """Stands for a frozen policy. load: gives it once more; None for one that is never released."""

    def __init__(self, policy: FrozenPolicy, load: Callable[[], FrozenPolicy] | None = None) -> None:
        self._policy: FrozenPolicy | None = policy
        self._load = load

    def release(self) -> list[str]:
        """Lets go of the weights until the policy is asked again, and names what it let go of."""
        if self._load is None:
            return []
        if self._policy is not None:
            self._policy.release()  # modules that know each other would be freed only when Python looks for cycles
            self._policy = None
        return ["the reference"]

    @property
    def policy(self) -> FrozenPolicy:
        """The one it stands for."""
        if self._policy is None:
            assert self._load is not None
            self._policy = self._load()
        return self._policy

    def log_probs(self, groups: Sequence[Group]) -> Tensor:
        return self.policy.log_probs(groups)

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        return self.policy.generate(prompts, completions_per_prompt, settings)

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        return self.policy.parameters()

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext() if self._policy is None else self._policy.whole()  # what is loaded anew is whole

    def frozen_copy(self) -> FrozenPolicy:
        return self.policy.frozen_copy()
