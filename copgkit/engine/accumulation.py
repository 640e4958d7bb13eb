"""The gradient of a step, added up in forward passes that fit the memory.

    for each batch of whole groups that fits policy.tokens_per_forward:
        back-propagate the objective's loss
    a group that does not fit:
        its log-probabilities without graph -> the loss's derivative by each of them
        for each part of the group that fits: back-propagate its log-probabilities with those weights

The gradient is the same however it is split (theory: the two-pass form), and the loss never sees a part of a group.
If the memory does not suffice, the budget is halved once, said so, and the step is done again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import Tensor

from copgkit import interrupts
from copgkit.engine import ranks
from copgkit.engine.accelerating import one_pass
from copgkit.engine.batches import Batch, StepFigures, collate
from copgkit.engine.log_probs import stretches
from copgkit.engine.objectives import Objective
from copgkit.engine.policy import Policy
from copgkit.engine.reference import Example
from copgkit.errors import TrainingError
from copgkit.types import Group


@dataclass
class _Share:
    """Groups of one batch and the completions of each graph over them: all in one, or stretches of a single group that
    does not fit, with what the loss says of each of its log-probabilities."""

    few: Sequence[Example]
    parts: Sequence[range]
    weight_GK: Tensor | None = None


@dataclass
class Accumulation:
    """Adds the gradient of the mean loss over a step's groups to the policy's parameters.

    entropies: whether the figures have the entropy of the policy's distributions. tell: is told when the budget of
    tokens is halved. halved: whether it was.
    """

    policy: Policy
    objective: Objective
    accelerator: Accelerator
    tell: Callable[[str], None] = lambda text: None
    entropies: bool = False
    halved: bool = False

    def over(self, examples: Sequence[Example]) -> StepFigures:
        """Leaves the step's gradient in the parameters, which had none, and gives its figures.

        Raises TrainingError, and Interrupted between forward passes (several processes: before the first one), with
        parts of the gradient left behind.
        """
        try:
            return self._over(examples)
        except (torch.OutOfMemoryError, RuntimeError) as fault:
            if not _out_of_memory(fault):
                raise
            self._halve(fault)
        for parameter in self.policy.parameters():
            parameter.grad = None
        return self.over(examples)

    def _over(self, examples: Sequence[Example]) -> StepFigures:
        """This process's share of the step. Processes wait for each other in the last pass, those that have parts of
        the weights only in every pass, so that all of them need as many: who has fewer adds passes of no weight."""
        figures = StepFigures()
        by_length = sorted(examples, key=lambda example: self.policy.forward_tokens([example.scored.group]))
        shares = [_Share(few, self._parts(few)) for few in self._batches(ranks.share_of(by_length))]
        own, in_parts = sum(len(share.parts) for share in shares), any(len(share.parts) > 1 for share in shares)
        counts = ranks.gathered((own, in_parts, interrupts.is_asked()))
        if any(asked for *_, asked in counts):
            raise interrupts.AllInterrupted("a signal asked the run to end")  # none waits for another
        if any(in_parts for _, in_parts, _ in counts):
            with self.policy.whole(), torch.no_grad():
                self._weigh(shares, len(examples), figures)
        most = max(own for own, *_ in counts)
        passes = itertools.chain.from_iterable(self._passes(share, len(examples), figures) for share in shares)
        for number in range(most):
            if ranks.count() == 1:
                interrupts.leave_if_asked()
            with one_pass(self.accelerator, self.policy.module, last=number == most - 1):
                loss = next(passes) if number < own else 0 * self._log_probs([by_length[0].scored.group]).sum()
                self.accelerator.backward(loss * ranks.count())  # gradients are averaged over processes after this
        return figures.over_all_processes()

    def _batches(self, by_length: Sequence[Example]) -> Iterator[list[Example]]:
        """Whole groups of similar length together, as many as fit a forward pass, one at least."""
        for some in stretches(len(by_length), lambda some: self._fits([by_length[n] for n in some])):
            yield [by_length[n] for n in some]

    def _weigh(self, shares: Sequence[_Share], groups_in_step: int, figures: StepFigures) -> None:
        """What the loss says of each log-probability of a group that is back-propagated in parts; adds its figures."""
        for share in shares:
            if len(share.parts) > 1:
                batch = collate(self.policy, share.few)
                logp_GK = self._log_probs([scored.group for scored in batch.groups]).requires_grad_()
                with torch.enable_grad():
                    loss_G = self._loss(logp_GK, batch)
                    (share.weight_GK,) = torch.autograd.grad(loss_G.sum() / groups_in_step, logp_GK)
                figures.add(batch, logp_GK.detach(), loss_G.detach(), self.objective.beta)

    def _passes(self, share: _Share, groups_in_step: int, figures: StepFigures) -> Iterator[Tensor]:
        """What is back-propagated of a batch, one graph after the other."""
        if share.weight_GK is not None:
            (group,) = [example.scored.group for example in share.few]
            for part in share.parts:
                part_1K = self._log_probs([_part(group, part)], figures)
                yield (part_1K * share.weight_GK[:, part.start : part.stop]).sum()
            return
        batch = collate(self.policy, share.few)
        logp_GK = self._log_probs([scored.group for scored in batch.groups], figures)
        loss_G = self._loss(logp_GK, batch)
        figures.add(batch, logp_GK.detach(), loss_G.detach(), self.objective.beta)
        yield loss_G.sum() / groups_in_step

    def _parts(self, few: Sequence[Example]) -> list[range]:
        """The completions of each graph over a batch: all in one if it fits, else stretches of its only group."""
        group = few[0].scored.group
        if len(few) > 1 or self._fits(few):
            return [range(len(group.completions))]
        budget = self.policy.tokens_per_forward
        return list(
            stretches(len(group.completions), lambda some: self.policy.forward_tokens([_part(group, some)]) <= budget)
        )

    def _fits(self, examples: Sequence[Example]) -> bool:
        groups = [example.scored.group for example in examples]
        return self.policy.forward_tokens(groups) <= self.policy.tokens_per_forward

    def _log_probs(self, groups: Sequence[Group], figures: StepFigures | None = None) -> Tensor:
        """Those of the policy; their entropies go to the figures, if these are given and wanted."""
        with self.accelerator.autocast():
            if figures is None or not self.entropies:
                return self.policy.log_probs(groups)
            logp_GK, entropy_GK = self.policy.log_probs_and_entropies(groups)
        figures.add_entropies(entropy_GK)
        return logp_GK

    def _loss(self, logp_GK: Tensor, batch: Batch) -> Tensor:
        return self.objective(
            logp_GK, batch.ref_logp_GK, batch.reward_GK, batch.valid_GK, batch.pair_weight_GKK, batch.num_tokens_GK
        )

    def _halve(self, fault: Exception) -> None:
        """Half the budget, the first time; several processes would have to do so together."""
        if self.halved or ranks.count() > 1:
            raise TrainingError(
                f"train.tokens_per_forward: memory does not suffice for {self.policy.tokens_per_forward} tokens."
                " Lower it, set train.gradient_checkpointing, or train fewer parameters."
            ) from fault
        self.halved = True
        self.policy.tokens_per_forward //= 2
        self.tell(
            f"train: out of memory; going on with {self.policy.tokens_per_forward} tokens in a forward pass, half of"
            " what it was. Set train.tokens_per_forward so next time."
        )


def _part(group: Group, some: range) -> Group:
    return replace(group, completions=group.completions[some.start : some.stop], pair_weights=None)


def _out_of_memory(fault: Exception) -> bool:
    """Whether torch says so; its allocator for the CPU has no exception of its own."""
    return isinstance(fault, torch.OutOfMemoryError) or "can't allocate memory" in str(fault)
