"""The paper's bandit (its section 5): three arms, skewed off-policy pairs, and where each method ends.

R = (2.5, 2, 1), mu1 = (.1, .2, .7), mu2 = (.05, .05, .9), beta = .5, uniform reference; 10,000 sampled pairs, Adam
1e-3, batches of 512, 100 epochs. Parametrisation: tabular logits from 0, with which 100 epochs are not yet converged.

A batch of pairs of three arms holds at most 18 different (pair, label) combinations, so a batch is kept as counts; that
changes nothing but the time. All seeds are trained side by side: Adam works on every number by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from copgkit.engine.objectives import Objective, all_pairs, policy_gradient, regularised_reward
from copgkit.theory.exact import Problem, gradient, group_losses, minimum, product_pairs, stationary_point
from copgkit.types import Curves

BETA = 0.5
FIRST = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
SECOND = torch.tensor([0.05, 0.05, 0.9], dtype=torch.float64)
PROBLEM = Problem(
    torch.tensor([2.5, 2.0, 1.0], dtype=torch.float64), torch.full((3,), 1 / 3, dtype=torch.float64), BETA
)
PAIRS, PAIR_PROBABILITY = product_pairs(FIRST, SECOND)

NUM_PAIRS, BATCH, LEARNING_RATE = 10_000, 512, 1e-3

Baseline = Callable[[Tensor, Tensor], Tensor]
"""(pi, A) -> the baseline b; both [..., 3]."""

_MIXED = (FIRST + SECOND) / 2
BASELINES: dict[str, Baseline] = {
    "PG, b = 0": lambda policy, regularised: torch.zeros_like(policy[..., 0]),
    "PG, b = E_pi[R]": lambda policy, regularised: (policy * PROBLEM.reward).sum(-1),
    "PG, b = E_pi[A]": lambda policy, regularised: (policy * regularised).sum(-1),
    "PG, b = E_mu[A]": lambda policy, regularised: (_MIXED * regularised).sum(-1),
    "PG, b = E_mu[R]": lambda policy, regularised: (_MIXED * PROBLEM.reward).sum().expand(policy.shape[:-1]),
}


def fixed_points() -> dict[str, Tensor]:
    """Where each method ends with infinite data and training: policies [3] by method."""
    points = {"CoPG": _preference_free_minimum(Objective("copg", BETA))}
    for name, baseline in BASELINES.items():
        points[name] = stationary_point(partial(_expected_descent, baseline=baseline), 3)
    points["contrast with the other's raw R"] = stationary_point(_raw_contrast_descent, 3)
    for name, objective in {
        "IPO, beta = .5": Objective("ipo", 0.5),
        "IPO, beta = .1": Objective("ipo", 0.1),
        "DPO, beta = .5": Objective("dpo", 0.5),
    }.items():
        points[name] = _preference_minimum(objective)
    return points


def regret(policy: Tensor) -> Tensor:
    """Regret of policies [..., 3] by the closed form beta KL(pi || pi*) [...]."""
    return BETA * (policy * (policy.log() - PROBLEM.optimum.log())).sum(-1)


@dataclass(frozen=True)
class Method:
    """A method of the literal recipe. loss(theta_S3) -> the loss of every kind of example, for every seed [S, 18]."""

    name: str
    loss: Callable[[Tensor], Tensor]


def methods() -> list[Method]:
    """CoPG, policy gradient with two baselines, and IPO on sampled Bradley-Terry labels."""
    return [
        Method("CoPG", lambda theta: _pair_losses(theta, Objective("copg", BETA))),
        Method("PG, b = E_pi[R]", lambda theta: _policy_gradient_losses(theta, BASELINES["PG, b = E_pi[R]"])),
        Method("IPO", lambda theta: _pair_losses(theta, Objective("ipo", BETA), labelled=True)),
        Method("PG, b = 0", lambda theta: _policy_gradient_losses(theta, BASELINES["PG, b = 0"])),
    ]


def train(method: Method, seeds: Sequence[int], epochs: int, every: int = 10) -> dict[int, Tensor]:
    """The regret [S] of every seed after 0, every, 2 every, ... epochs of the literal recipe."""
    theta = torch.zeros(len(seeds), 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=LEARNING_RATE)
    data = torch.stack([_sampled_examples(seed) for seed in seeds])
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    found = {0: regret(theta.detach().softmax(-1))}
    for epoch in range(1, epochs + 1):
        order = torch.stack([torch.randperm(NUM_PAIRS, generator=generator) for generator in generators])
        for weights_S18 in _batches(data.gather(1, order)):
            optimiser.zero_grad()
            (weights_S18 * method.loss(theta)).sum().backward()
            optimiser.step()
        if epoch % every == 0:
            found[epoch] = regret(theta.detach().softmax(-1))
    return found


def regret_curves(seeds: Sequence[int] = tuple(range(10)), epochs: int = 100) -> Curves:
    """The picture of the paper's section 5: mean regret over seeds, with the range from lowest to highest."""
    lines = {}
    for method in methods():
        found = train(method, seeds, epochs)
        lines[method.name] = [
            (float(epoch), values.mean().item(), values.min().item(), values.max().item())
            for epoch, values in found.items()
        ]
    return Curves(
        title="Regret on the paper's bandit",
        x_label="epoch",
        y_label="regret",
        lines=lines,
        note=f"Literal recipe with tabular logits, {len(seeds)} seeds; the band is their range. Only CoPG goes to 0.",
    )


def _sampled_examples(seed: int) -> Tensor:
    """10,000 examples as numbers 0..17: the pair (first arm 3 + second arm), plus 9 if the second is preferred."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.multinomial(mu, NUM_PAIRS, True, generator=generator) for mu in (FIRST, SECOND))
    chance = torch.rand(NUM_PAIRS, generator=generator, dtype=torch.float64)
    second_wins = chance >= (PROBLEM.reward[first] - PROBLEM.reward[second]).sigmoid()
    return first * 3 + second + 9 * second_wins


def _batches(data_SN: Tensor) -> list[Tensor]:
    """The share of each kind of example in each batch [S, 18]; the last batch is smaller."""
    return [
        torch.stack([torch.bincount(row, minlength=18) / len(row) for row in batch]).double()
        for batch in data_SN.split(BATCH, dim=1)
    ]


def _pair_losses(theta_S3: Tensor, objective: Objective, labelled: bool = False) -> Tensor:
    """The loss of each of the 9 pairs with either label, for every seed [S, 18]."""
    logp_GK, ref_logp_GK, reward_GK = _examples(theta_S3)
    if labelled:
        labels = torch.tensor([[1.0, 0.0]] * 9 + [[0.0, 1.0]] * 9, dtype=torch.float64)
        reward_GK = labels.repeat(len(theta_S3), 1)
    valid_GK = torch.ones_like(logp_GK)
    loss_G = objective(logp_GK, ref_logp_GK, reward_GK, valid_GK, all_pairs(valid_GK), valid_GK)
    return loss_G.view(-1, 18)


def _policy_gradient_losses(theta_S3: Tensor, baseline: Baseline) -> Tensor:
    """The loss of the policy gradient with an exact baseline on the same examples [S, 18]."""
    logp_GK, ref_logp_GK, reward_GK = _examples(theta_S3)
    with torch.no_grad():
        logp_S3 = theta_S3.log_softmax(-1)
        regularised_S3 = regularised_reward(logp_S3, PROBLEM.reference.log(), PROBLEM.reward, BETA)
        baseline_GK = baseline(logp_S3.exp(), regularised_S3).repeat_interleave(18)[:, None].expand_as(logp_GK)
    return policy_gradient(logp_GK, ref_logp_GK, reward_GK, torch.ones_like(logp_GK), baseline_GK, BETA).view(-1, 18)


def _examples(theta_S3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln pi, ln pi_ref and R of the 18 kinds of example for every seed, each [S * 18, 2]."""
    groups = PAIRS.repeat(2, 1)
    logp_GK = theta_S3.log_softmax(-1)[:, groups].flatten(0, 1)
    ref_logp_GK, reward_GK = (
        each[groups].repeat(len(theta_S3), 1) for each in (PROBLEM.reference.log(), PROBLEM.reward)
    )
    return logp_GK, ref_logp_GK, reward_GK


def _preference_free_minimum(objective: Objective) -> Tensor:
    return minimum(
        lambda theta: (PAIR_PROBABILITY * group_losses(theta, PROBLEM, objective, PAIRS, PROBLEM.reward[PAIRS])).sum(),
        3,
    )


def _preference_minimum(objective: Objective) -> Tensor:
    """The minimum of a preference objective under Bradley-Terry labels, sigmoid(R_i - R_j)."""
    first_wins = (PROBLEM.reward[PAIRS[:, 0]] - PROBLEM.reward[PAIRS[:, 1]]).sigmoid()
    weights = torch.cat([PAIR_PROBABILITY * first_wins, PAIR_PROBABILITY * (1 - first_wins)])
    return minimum(lambda theta: (weights * _pair_losses(theta[None], objective, labelled=True)[0]).sum(), 3)


def _expected_descent(theta: Tensor, baseline: Baseline) -> Tensor:
    """Minus the expected policy gradient with this baseline, by enumeration of the pairs [3]."""
    weights = PAIR_PROBABILITY.repeat(2) / 2
    return gradient(lambda at: (weights * _policy_gradient_losses(at[None], baseline)[0]).sum(), theta)


def _raw_contrast_descent(theta: Tensor) -> Tensor:
    """The other sample's raw reward as baseline: -(A(y) - R(y')) grad ln pi(y), and the same with y and y' swapped."""

    def loss(at: Tensor) -> Tensor:
        others = PROBLEM.reward[PAIRS].flip(-1)
        ones = torch.ones(9, 2, dtype=torch.float64)
        logp, reference = at.log_softmax(0)[PAIRS], PROBLEM.reference.log()[PAIRS]
        return (PAIR_PROBABILITY * policy_gradient(logp, reference, PROBLEM.reward[PAIRS], ones, others, BETA)).sum()

    return gradient(loss, theta)
