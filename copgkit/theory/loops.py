"""The training loop against a plain one: the bandit trained by `align`, and by ten lines that share nothing with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from copgkit.engine.objectives import Objective
from copgkit.engine.reference import Reference
from copgkit.engine.tabular import TabularPolicy
from copgkit.engine.training import TrainingSettings, align
from copgkit.theory.bandit import BETA, FIRST, PROBLEM, SECOND
from copgkit.theory.exact import kl
from copgkit.theory.finding import EXACT, Finding
from copgkit.types import Completion, Group, Prompt, Score, ScoredGroup

_ARMS, _PROMPT = ("a", "b", "c"), Prompt("Choose an arm.")
_PAIRS, _STEPS, _RATE = 64, 60, 0.05


def same_as_a_plain_loop() -> Finding:
    """The logits after 60 steps equal those of a plain loop of Adam on the gradient written by hand."""
    pairs = _drawn()
    policy = _trained(pairs, steps=_STEPS, schedule="constant")
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=_RATE)
    for _ in range(_STEPS):
        regularised = PROBLEM.regularised(theta.detach())[pairs]
        gap = regularised[:, 0] - regularised[:, 1]
        theta.grad = torch.zeros(3, dtype=torch.float64)
        theta.grad.index_add_(0, pairs[:, 0], -gap / _PAIRS)
        theta.grad.index_add_(0, pairs[:, 1], gap / _PAIRS)
        optimiser.step()
    error = (policy.probabilities(_PROMPT) - theta.detach().softmax(0)).abs().max().item()
    return Finding("L", "the training loop equals a plain loop by hand", error, EXACT, f"{_STEPS} steps of Adam")


def reaches_the_optimum() -> Finding:
    """The same loop, run to its end, has pi* as limit."""
    policy = _trained(_drawn(), steps=500, schedule="cosine")
    found = kl(PROBLEM.optimum, policy.probabilities(_PROMPT)).item()
    return Finding("L", "the training loop reaches pi* on the bandit", found, 1e-6, "KL(pi* || pi) after 500 steps")


def claims() -> Iterator[Callable[[], Finding]]:
    """The claims of this file, in order."""
    yield from (same_as_a_plain_loop, reaches_the_optimum)


def _drawn() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.multinomial(mu, _PAIRS, True, generator=generator) for mu in (FIRST, SECOND)], dim=1)


def _trained(pairs: torch.Tensor, steps: int, schedule: str) -> TabularPolicy:
    """A tabular policy trained by the engine on all pairs at once."""
    policy = TabularPolicy(_ARMS)
    reward = PROBLEM.reward.tolist()
    groups, _ = policy.encode(
        [Group(_PROMPT, tuple(Completion(_PROMPT, _ARMS[i]) for i in row)) for row in pairs.tolist()]
    )
    scored = [
        ScoredGroup(group, {"arm": [Score(reward[i]) for i in row]}, tuple(reward[i] for i in row))
        for group, row in zip(groups, pairs.tolist(), strict=True)
    ]
    examples = Reference(policy.frozen_copy()).examples(scored)
    settings = TrainingSettings(
        epochs=steps,
        groups_per_step=_PAIRS,
        learning_rate=_RATE,
        schedule="constant" if schedule == "constant" else "cosine",
        warmup=0.0,
        max_grad_norm=None,
        log_every=steps,
    )
    align(policy, [examples], Objective("copg", BETA), settings, steps)
    return policy
