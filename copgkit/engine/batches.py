"""Scored groups as tensors, and the figures of a step over them.

Legend: G groups, K completions of the largest group.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from copgkit.engine import ranks
from copgkit.engine.objectives import all_pairs, regularised_reward, residual
from copgkit.engine.policy import Policy
from copgkit.engine.reference import Example
from copgkit.types import ScoredGroup


@dataclass(frozen=True)
class Batch:
    """Whole groups as tensors on the policy's device; absent completions are 0 everywhere."""

    groups: Sequence[ScoredGroup]
    reward_GK: Tensor
    ref_logp_GK: Tensor
    valid_GK: Tensor
    pair_weight_GKK: Tensor
    num_tokens_GK: Tensor


@dataclass
class StepFigures:
    """Running sums over the micro-batches of one step, and the metrics made from them."""

    groups: int = 0
    completions: float = 0.0
    tokens: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, batch: Batch, logp_GK: Tensor, loss_G: Tensor, beta: float) -> None:
        """Takes in one micro-batch; nothing here carries a gradient."""
        valid_GK, log_ratio_GK = batch.valid_GK, logp_GK - batch.ref_logp_GK
        regularised_GK = regularised_reward(logp_GK, batch.ref_logp_GK, batch.reward_GK, beta)
        self.groups += len(loss_G)
        self.completions += valid_GK.sum().item()
        self.tokens += batch.num_tokens_GK.sum().item()
        for name, per_group_G in {
            "loss": loss_G,
            "residual": residual(regularised_GK, batch.pair_weight_GKK),
            "best": _extreme(logp_GK, batch, 1),
            "worst": _extreme(logp_GK, batch, -1),
        }.items():
            self._add(name, per_group_G.sum())
        for name, value_GK in {"reward": batch.reward_GK, "log_ratio": log_ratio_GK, "log_prob": logp_GK}.items():
            self._add(name, (valid_GK * value_GK).sum())

    def add_entropies(self, entropy_GK: Tensor) -> None:
        """Takes in the entropies of next-token distributions, summed over each completion's tokens, in nats."""
        self._add("entropy", entropy_GK.sum())

    def over_all_processes(self) -> StepFigures:
        """The sums over what every process has taken in."""
        own = {"groups": self.groups, "completions": self.completions, "tokens": self.tokens}
        total = ranks.summed(own | self.sums)
        return StepFigures(int(total["groups"]), total["completions"], total["tokens"], total)

    def row(self) -> dict[str, float]:
        """The metrics of the step: means over its groups or completions."""
        per_group, per_completion = 1 / self.groups, 1 / self.completions
        return {
            "train/loss/mean": self.sums["loss"] * per_group,
            "train/reward/mean": self.sums["reward"] * per_completion,
            "train/residual/rms": math.sqrt(max(self.sums["residual"] * per_group, 0.0)),
            "train/log-ratio/mean": self.sums["log_ratio"] * per_completion,
            "train/log-prob/mean": self.sums["log_prob"] * per_completion,
            "train/log-prob-best/mean": self.sums["best"] * per_group,
            "train/log-prob-worst/mean": self.sums["worst"] * per_group,
        } | ({"train/entropy/mean": self.sums["entropy"] / self.tokens} if "entropy" in self.sums else {})

    def _add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value.item()


def collate(policy: Policy, examples: Sequence[Example]) -> Batch:
    """Whole groups as padded tensors, in the type and on the device of the policy's parameters."""
    like = next(policy.parameters())
    groups = [example.scored for example in examples]
    widest = max(len(group.rewards) for group in groups)

    def padded(rows: Iterable[Sequence[float]]) -> Tensor:
        # float64 on the way: rewards and log-probabilities are exact Python floats until they meet the policy's type.
        filled = [list(row) + [0.0] * (widest - len(row)) for row in rows]
        dtype = like.dtype if like.dtype == torch.float64 else torch.float32
        return torch.tensor(filled, dtype=torch.float64).to(like.device, dtype)

    valid_GK = padded([1.0] * len(group.rewards) for group in groups)
    return Batch(
        groups=groups,
        reward_GK=padded(group.rewards for group in groups),
        ref_logp_GK=padded(example.ref_log_probs for example in examples),
        valid_GK=valid_GK,
        pair_weight_GKK=_pair_weights(groups, valid_GK),
        num_tokens_GK=policy.num_tokens([group.group for group in groups]).to(valid_GK),
    )


def _pair_weights(groups: Sequence[ScoredGroup], valid_GK: Tensor) -> Tensor:
    pair_weight_GKK = all_pairs(valid_GK)
    for g, scored in enumerate(groups):
        weights = scored.group.pair_weights
        if weights is not None:
            size = len(weights)
            pair_weight_GKK[g, :size, :size] *= torch.tensor(weights).to(pair_weight_GKK)
    return pair_weight_GKK


def _extreme(logp_GK: Tensor, batch: Batch, sign: int) -> Tensor:
    """ln pi of the completion with the highest (sign 1) or lowest (sign -1) reward of each group [G]."""
    ranked_GK = (sign * batch.reward_GK).masked_fill(batch.valid_GK == 0, -torch.inf)
    return logp_GK.gather(1, ranked_GK.argmax(-1, keepdim=True)).squeeze(1)
