"""Steps that are not taken, because the loss, the gradient, a weight or the optimiser's memory is not finite.

    guard = BadSteps(policy, optimiser, limit=3, keep=write_groups_of)
    if guard.refuses(step, norm, loss, examples):
        continue                                   # the gradient is gone, weights and optimiser are as they were

A batch whose loss or gradient is not finite is left out: the run goes on as if it had never been drawn, the step does
not count, and the batch is kept, to be looked at and trained on by itself. More than `limit` of them in a run say that
something else is wrong. Weights or an optimiser's memory that hold NaN make every further step bad, so that nothing is
skipped: the run ends before they are used.

Limits: weights are looked at when a loss or gradient is not finite, so that one which no batch reads is not seen. The
optimiser's memory is summed up before each step, which takes a quarter of AdamW's own time for each of its two tensors
(42 M weights, 1 CPU thread). Under DeepSpeed, which cannot leave out a step, a bad one ends the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from copgkit.engine import ranks
from copgkit.engine.policy import Policy
from copgkit.engine.reference import Example
from copgkit.errors import TrainingError

Keep = Callable[[int, int, Sequence[Example]], None]
"""Told of a bad step: how many there were, the number the step would have had, and its groups."""


@dataclass
class BadSteps:
    """Judges each step before it is taken. count: how many were not taken since the run began.

    limit: how many may be left out; 0 stops at the first. keep: is given the groups of each. tell: is told of each.
    """

    policy: Policy
    optimiser: torch.optim.Optimizer
    limit: int
    keep: Keep = lambda count, step, examples: None
    tell: Callable[[str], None] = lambda text: None
    count: int = 0

    def refuses(self, step: int, norm: float, loss: float, examples: Sequence[Example]) -> bool:
        """Whether the step must not be taken; its gradient is then gone. Every process says the same.

        step: the number that it would have. norm: of its gradient. loss: the sum over its groups. Raises TrainingError
        where leaving this one out does not help.
        """
        sound = math.isfinite(norm) and math.isfinite(loss)
        broken = _in_any_process(self._broken_part(weights_too=not sound))
        if sound and broken is None:
            return False
        self.count += 1
        self.keep(self.count, step, examples)
        self.optimiser.zero_grad()
        found = f"step {step}: the loss is {loss} and the gradient norm {norm}; the step was not taken."
        if broken is not None:
            raise TrainingError(
                f"step {step}: {broken} is not finite; the step was not taken, and no other can be. Go on from the last"
                " checkpoint. If it happens again, lower the learning rate, or use float32 instead of bf16."
            )
        if self.count > self.limit:
            raise TrainingError(
                f"{found} It is bad step {self.count}, and train.max_bad_steps is {self.limit}. {_first(examples)}"
                " Lower the learning rate, raise beta, or set objective.clip; float32 instead of bf16 also helps."
            )
        self.tell(
            f"{found} Bad step {self.count} of at most {self.limit}; its groups are left out and kept in bad-steps."
        )
        return True

    def figures(self) -> dict[str, float]:
        """How many steps were not taken, once there is one."""
        return {"train/bad-steps/count": self.count} if self.count else {}

    def _broken_part(self, weights_too: bool) -> str | None:
        """What has gone bad for good in this process, in words."""
        if not _finite(_memory_of(self.optimiser)):
            return "the optimiser's memory"
        if weights_too and not _finite(parameter.detach() for parameter in self.policy.parameters()):
            return "a weight"
        return None


def _first(examples: Sequence[Example]) -> str:
    return f"Its first prompts: {', '.join(example.scored.group.prompt.place for example in examples[:3])}."


def _memory_of(optimiser: torch.optim.Optimizer) -> Iterator[Tensor]:
    """What the optimiser remembers of each weight."""
    for memory in optimiser.state.values():
        yield from (value for value in memory.values() if isinstance(value, Tensor))


def _finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all entries are: NaN and infinity survive a sum. One answer is waited for on each device."""
    sums: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor  # this process's part of it
        sums.setdefault(local.device, []).append(local.sum(dtype=_wide(local)).float())
    return all(bool(torch.stack(some).isfinite().all()) for some in sums.values())


def _wide(tensor: Tensor) -> torch.dtype | None:
    """A sum of many numbers is too much for 16 bits."""
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else None


def _in_any_process(found: str | None) -> str | None:
    return next((words for words in ranks.gathered(found) if words is not None), None)
