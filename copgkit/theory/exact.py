"""Exact quantities of a tabular problem, in double precision: optimum, value, regret, and stationary points.

Notation of the paper (arXiv:2406.19185): N completions ("arms") of one prompt, logits theta [N], pi = softmax(theta),
h = ln pi - ln pi_ref, A = R - beta h, J(pi) = E_pi[R] - beta KL(pi || pi_ref). All tensors are float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from copgkit.engine.objectives import Objective, all_pairs


@dataclass(frozen=True)
class Problem:
    """One prompt whose completions can be counted. reward, reference: [N]; the reference sums to 1; beta > 0."""

    reward: Tensor
    reference: Tensor
    beta: float

    @property
    def optimum(self) -> Tensor:
        """pi* = pi_ref exp(R/beta) / Z [N]."""
        return (self.reference.log() + self.reward / self.beta).softmax(0)

    @property
    def best_value(self) -> Tensor:
        """J(pi*) = beta ln Z."""
        return self.beta * (self.reference.log() + self.reward / self.beta).logsumexp(0)

    def value(self, policy: Tensor) -> Tensor:
        """J(pi) = E_pi[R] - beta KL(pi || pi_ref)."""
        return (policy * self.reward).sum() - self.beta * kl(policy, self.reference)

    def regret(self, policy: Tensor) -> Tensor:
        """J(pi*) - J(pi), which equals beta KL(pi || pi*)."""
        return self.best_value - self.value(policy)

    def regularised(self, theta: Tensor) -> Tensor:
        """A = R - beta h at the policy softmax(theta) [N]."""
        return self.reward - self.beta * (theta.log_softmax(0) - self.reference.log())

    def at(self, beta: float) -> Problem:
        """The same problem with another beta."""
        return replace(self, beta=beta)


def problem(arms: int, seed: int, beta: float = 0.5) -> Problem:
    """A random problem: normal rewards and a reference that is far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    reward = torch.randn(arms, generator=generator, dtype=torch.float64)
    reference = torch.randn(arms, generator=generator, dtype=torch.float64).softmax(0)
    return Problem(reward, reference, beta)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats; 0 ln 0 = 0."""
    return torch.where(p > 0, p * (p.clamp(min=1e-300).log() - q.log()), 0.0).sum()


def product_pairs(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of arms [N*N, 2] with their probabilities [N*N] when drawn from first x second, independently."""
    arms = len(first)
    return torch.cartesian_prod(torch.arange(arms), torch.arange(arms)), torch.outer(first, second).flatten()


def expected_loss(
    theta: Tensor, problem: Problem, objective: Objective, groups_GK: Tensor, weights_G: Tensor
) -> Tensor:
    """The engine's objective, summed over the given groups of arms [G, K] with weights [G]."""
    return (weights_G * group_losses(theta, problem, objective, groups_GK, problem.reward[groups_GK])).sum()


def group_losses(theta: Tensor, problem: Problem, objective: Objective, groups_GK: Tensor, reward_GK: Tensor) -> Tensor:
    """The engine's objective for each group of arms [G], with rewards [G, K] that may differ from the problem's."""
    logp_GK, ref_logp_GK = theta.log_softmax(0)[groups_GK], problem.reference.log()[groups_GK]
    valid_GK = torch.ones_like(logp_GK)
    return objective(logp_GK, ref_logp_GK, reward_GK, valid_GK, all_pairs(valid_GK), valid_GK)


def gradient(function: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """The gradient of a scalar function at theta [N], by autograd."""
    theta = theta.detach().requires_grad_()
    return torch.autograd.grad(function(theta), theta)[0]


def finite_differences(function: Callable[[Tensor], Tensor], theta: Tensor, step: float = 1e-6) -> Tensor:
    """The gradient of a scalar function at theta [N], by central differences."""
    steps = step * torch.eye(len(theta), dtype=theta.dtype)
    return torch.stack([(function(theta + each) - function(theta - each)) / (2 * step) for each in steps])


def minimum(function: Callable[[Tensor], Tensor], arms: int) -> Tensor:
    """The policy softmax(theta) [N] at which a function of theta is smallest, from theta = 0 by L-BFGS."""
    theta = torch.zeros(arms, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [theta], max_iter=200, tolerance_grad=1e-13, tolerance_change=0, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimiser.zero_grad()
        loss = function(theta)
        loss.backward()
        return loss.item()

    optimiser.step(closure)
    return theta.detach().softmax(0)


def stationary_point(descent: Callable[[Tensor], Tensor], arms: int, flow: int = 200, rate: float = 0.5) -> Tensor:
    """The policy [N] at which training by a gradient that belongs to no function comes to rest.

    descent(theta) is minus the step [N]. Follows it from theta = 0 for `flow` steps, which chooses the point that
    training would reach, then solves descent = 0 by Newton's method with the last logit held.
    """
    theta = torch.zeros(arms, dtype=torch.float64)
    for _ in range(flow):
        theta = theta - rate * descent(theta)
    free = (theta - theta[-1])[:-1]
    for _ in range(30):
        residual = descent(_with_last(free))[:-1]
        jacobian = torch.stack(
            [
                (descent(_with_last(free + step))[:-1] - descent(_with_last(free - step))[:-1]) / 2e-5
                for step in 1e-5 * torch.eye(arms - 1, dtype=torch.float64)
            ],
            dim=1,
        )
        free = free - torch.linalg.solve(jacobian, residual)
        if residual.abs().max() < 1e-14:
            break
    return _with_last(free).softmax(0)


def _with_last(free: Tensor) -> Tensor:
    return torch.cat([free, torch.zeros(1, dtype=torch.float64)])
