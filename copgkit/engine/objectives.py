"""The objectives: pure functions from log-probabilities and rewards to one loss per group.

Shapes: G groups, K completions per group. All losses are minimised. Sequence log-probabilities are sums over tokens in
nats, rewards are in units of reward, beta in reward per nat. Absent completions (groups smaller than K) hold any finite
number and are switched off by weight 0 in `pair_weight_GKK` (symmetric, non-negative, zero diagonal).

Notation of the paper (Flet-Berliac et al., "Contrastive Policy Gradient", arXiv:2406.19185): h = ln pi - ln pi_ref is
the log-ratio and A = R - beta h the regularised reward; at the optimum pi_ref exp(R/beta)/Z, A is the same for every
completion of a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

BaselineName = Literal["none", "value", "regularised-value", "leave-one-out"]


def all_pairs(valid_GK: Tensor) -> Tensor:
    """Weight 1 for every pair of two different present completions [G, K, K]."""
    pair_weight_GKK = valid_GK[:, :, None] * valid_GK[:, None, :]
    return pair_weight_GKK * (1 - torch.eye(valid_GK.shape[1], dtype=valid_GK.dtype, device=valid_GK.device))


def regularised_reward(logp_GK: Tensor, ref_logp_GK: Tensor, reward_GK: Tensor, beta: float) -> Tensor:
    """A = R - beta (ln pi - ln pi_ref) [G, K]."""
    return reward_GK - beta * (logp_GK - ref_logp_GK)


def copg(
    logp_GK: Tensor,
    ref_logp_GK: Tensor,
    reward_GK: Tensor,
    pair_weight_GKK: Tensor,
    beta: float,
    clip: float | None = None,
) -> Tensor:
    """Contrastive Policy Gradient [G]: the weighted mean over a group's pairs of (A_i - A_j)^2 / (2 beta).

    Its gradient is minus the paper's, -(A_i - A_j)(grad ln pi_i - grad ln pi_j), for every pair; with equal weights the
    loss is s^2(A) / beta, s^2 the unbiased variance. beta > 0; at beta = 0 use `copg_score_function`.
    clip: beyond this gap of A the loss grows linearly (Huber); gaps are 0 at the optimum, so the optimum stays.
    """
    gap_GKK = _differences(regularised_reward(logp_GK, ref_logp_GK, reward_GK, beta))
    if clip is None:
        cost_GKK = 0.5 * gap_GKK.square()
    else:
        cost_GKK = functional.huber_loss(gap_GKK, torch.zeros_like(gap_GKK), reduction="none", delta=clip)
    return _pair_mean(cost_GKK, pair_weight_GKK) / beta


def copg_score_function(
    logp_GK: Tensor,
    ref_logp_GK: Tensor,
    reward_GK: Tensor,
    pair_weight_GKK: Tensor,
    beta: float,
    clip: float | None = None,
) -> Tensor:
    """The same gradient as `copg` in score-function form [G]: -stop(A_i - A_j)(ln pi_i - ln pi_j), mean over the pairs.

    Also defined at beta = 0, where it is RLOO if the completions are drawn from the policy; off-policy, beta = 0 has no
    optimum. The value itself means nothing; only its gradient does.
    """
    gap_GKK = _differences(regularised_reward(logp_GK, ref_logp_GK, reward_GK, beta)).detach()
    if clip is not None:
        gap_GKK = gap_GKK.clamp(-clip, clip)
    return _pair_mean(-gap_GKK * _differences(logp_GK), pair_weight_GKK)


def ipo(logp_GK: Tensor, ref_logp_GK: Tensor, reward_GK: Tensor, pair_weight_GKK: Tensor, beta: float) -> Tensor:
    """Identity Preference Optimisation [G] (Azar et al., arXiv:2310.12036): (h_w - h_l - 1/(2 beta))^2.

    Mean over the pairs. The reward only says which completion of a pair is preferred; ties carry no weight. h is a sum
    over tokens, not a mean. With R = +-1/4 its gradient is 2/beta times that of `copg`.
    """
    margin_GKK = _differences(logp_GK - ref_logp_GK)
    return _pair_mean((margin_GKK - 1 / (2 * beta)).square(), pair_weight_GKK * _preferred(reward_GK))


def dpo(logp_GK: Tensor, ref_logp_GK: Tensor, reward_GK: Tensor, pair_weight_GKK: Tensor, beta: float) -> Tensor:
    """Direct Preference Optimisation [G] (Rafailov et al., arXiv:2305.18290): -ln sigmoid(beta (h_w - h_l)), mean over
    the pairs; the reward only says which completion is preferred, ties carry no weight."""
    margin_GKK = _differences(logp_GK - ref_logp_GK)
    return _pair_mean(-functional.logsigmoid(beta * margin_GKK), pair_weight_GKK * _preferred(reward_GK))


def policy_gradient(
    logp_GK: Tensor,
    ref_logp_GK: Tensor,
    reward_GK: Tensor,
    valid_GK: Tensor,
    baseline_GK: Tensor,
    beta: float,
) -> Tensor:
    """Plain policy gradient [G]: -stop(A - b) ln pi, mean over the completions.

    Off-policy it is right only if b is the regularised value at the optimum (theory: stationary at the optimum iff
    b = beta ln Z there); the others are here to be compared with. valid_GK: 1 for a present completion, else 0.
    """
    advantage_GK = (regularised_reward(logp_GK, ref_logp_GK, reward_GK, beta) - baseline_GK).detach()
    return -(valid_GK * advantage_GK * logp_GK).sum(-1) / valid_GK.sum(-1).clamp(min=1)


def baseline(
    name: BaselineName, logp_GK: Tensor, ref_logp_GK: Tensor, reward_GK: Tensor, valid_GK: Tensor, beta: float
) -> Tensor:
    """The named baseline of each completion [G, K], without gradient.

    none: 0. leave-one-out: the mean A of the group's other completions (RLOO's, Ahmadian et al., arXiv:2402.14740).
    value, regularised-value: E_pi[R] and E_pi[A], estimated from the group with self-normalised weights exp(h); this
    supposes that the group was drawn from the reference and is biased for small K.
    """
    with torch.no_grad():
        regularised_GK = regularised_reward(logp_GK, ref_logp_GK, reward_GK, beta)
        if name == "none":
            return torch.zeros_like(reward_GK)
        if name == "leave-one-out":
            others_GK = (valid_GK.sum(-1, keepdim=True) - 1).clamp(min=1)
            return ((valid_GK * regularised_GK).sum(-1, keepdim=True) - regularised_GK) / others_GK
        log_ratio_GK = (logp_GK - ref_logp_GK).masked_fill(valid_GK == 0, -torch.inf)
        values_GK = reward_GK if name == "value" else regularised_GK
        weights_GK = log_ratio_GK.softmax(-1).nan_to_num()  # NaN where no completion is present
        return (weights_GK * values_GK).sum(-1, keepdim=True).expand_as(reward_GK)


def sft(logp_GK: Tensor, num_tokens_GK: Tensor, reward_GK: Tensor, valid_GK: Tensor) -> Tensor:
    """Supervised term [G]: -ln pi per token of the group's best completion. It moves the optimum."""
    best_G1 = reward_GK.masked_fill(valid_GK == 0, -torch.inf).argmax(-1, keepdim=True)
    present_GK = valid_GK * logp_GK  # all of a group may be absent
    return (-present_GK.gather(1, best_G1) / num_tokens_GK.gather(1, best_G1).clamp(min=1)).squeeze(1)


def residual(regularised_GK: Tensor, pair_weight_GKK: Tensor) -> Tensor:
    """Distance from the optimality condition [G]: the weighted mean of (A_i - A_j)^2 / 2 over pairs, s^2(A) for equal
    weights. It is 0 exactly where A is constant, at the optimum."""
    return _pair_mean(0.5 * _differences(regularised_GK).square(), pair_weight_GKK)


@dataclass(frozen=True)
class Objective:
    """Which loss is minimised, with its settings. beta in units of reward per nat."""

    use: Literal["copg", "ipo", "dpo", "policy-gradient"] = "copg"
    beta: float = 0.1
    clip: float | None = None
    baseline: BaselineName = "leave-one-out"
    sft_weight: float = 0.0

    def __call__(
        self,
        logp_GK: Tensor,
        ref_logp_GK: Tensor,
        reward_GK: Tensor,
        valid_GK: Tensor,
        pair_weight_GKK: Tensor,
        num_tokens_GK: Tensor,
    ) -> Tensor:
        """The loss of each group [G]."""
        scored = (logp_GK, ref_logp_GK, reward_GK)
        if self.use == "policy-gradient":
            baseline_GK = baseline(self.baseline, *scored, valid_GK, self.beta)
            loss_G = policy_gradient(*scored, valid_GK, baseline_GK, self.beta)
        elif self.use == "copg":
            form = copg if self.beta > 0 else copg_score_function
            loss_G = form(*scored, pair_weight_GKK, self.beta, self.clip)
        else:
            loss_G = (ipo if self.use == "ipo" else dpo)(*scored, pair_weight_GKK, self.beta)
        if self.sft_weight:
            loss_G = loss_G + self.sft_weight * sft(logp_GK, num_tokens_GK, reward_GK, valid_GK)
        return loss_G


def _differences(value_GK: Tensor) -> Tensor:
    """value_i - value_j [G, K, K]."""
    return value_GK[:, :, None] - value_GK[:, None, :]


def _preferred(reward_GK: Tensor) -> Tensor:
    """1 where completion i beats completion j [G, K, K]."""
    return (_differences(reward_GK) > 0).to(reward_GK.dtype)


def _pair_mean(cost_GKK: Tensor, pair_weight_GKK: Tensor) -> Tensor:
    """Weighted mean over a group's pairs [G]; 0 for a group without any weight."""
    total_G = pair_weight_GKK.sum((1, 2))
    return (pair_weight_GKK * cost_GKK).sum((1, 2)) / total_G.where(total_G > 0, torch.ones_like(total_G))
