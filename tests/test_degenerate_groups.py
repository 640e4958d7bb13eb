"""Degenerate groups: nothing there, one completion, no tokens, no pair that counts, huge rewards: finite losses."""

import random

import pytest
import torch

from copgkit.engine.objectives import Objective, all_pairs

OBJECTIVES = [
    Objective("copg", beta=0.01),
    Objective("copg", beta=1e-3, clip=2.0, sft_weight=0.5),
    Objective("ipo", beta=0.1),
    Objective("dpo", beta=0.1, sft_weight=0.5),
    *(
        Objective("policy-gradient", beta=0.1, baseline=b)
        for b in ("none", "value", "regularised-value", "leave-one-out")
    ),
]
LARGEST = 1e15  # the largest reward that a panel lets through


def _group(chance, K):
    """Rewards, log-probabilities, which completions are there, and their tokens [K]."""
    kind = chance.choice(["none", "one", "some", "all"])
    present = {"none": 0, "one": 1, "some": chance.randint(0, K), "all": K}[kind]
    scale = chance.choice([0.0, 1e-30, 1.0, 1e6, LARGEST])
    rewards = [chance.choice([0.0, scale, -scale, chance.gauss(0, 1) * scale / 4]) for _ in range(K)]
    depth = chance.choice([0.0, 1.0, 1e4])
    logps = [-abs(chance.gauss(0, 1)) * depth for _ in range(K)]
    tokens = [chance.choice([0, 1, 500]) for _ in range(K)]
    valid = [1.0] * present + [0.0] * (K - present)
    return [[value * there for value, there in zip(row, valid, strict=True)] for row in (rewards, logps, valid, tokens)]


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_mask_reward_or_length_makes_a_loss_or_a_gradient_infinite(count):
    chance = random.Random(count)
    for number in range(count):
        K, groups = chance.randint(1, 5), chance.randint(1, 3)
        rewards, logps, valid, tokens = zip(*(_group(chance, K) for _ in range(groups)), strict=True)
        dtype = chance.choice([torch.float32, torch.float64])
        reward_GK, valid_GK, tokens_GK = (torch.tensor(rows, dtype=dtype) for rows in (rewards, valid, tokens))
        logp_GK = torch.tensor(logps, dtype=dtype, requires_grad=True)
        ref_GK = torch.tensor(logps, dtype=dtype) * chance.choice([0.0, 1.0, 0.5])
        pairs_GKK = all_pairs(valid_GK) * chance.choice([0.0, 1.0])
        objective = chance.choice(OBJECTIVES)
        loss = objective(logp_GK, ref_GK, reward_GK, valid_GK, pairs_GKK, tokens_GK).sum()
        (gradient_GK,) = torch.autograd.grad(loss, logp_GK)
        case = (number, objective, rewards, logps, valid, tokens, dtype)
        assert loss.isfinite(), case
        assert gradient_GK.isfinite().all(), case
        assert not (gradient_GK * (1 - valid_GK)).any(), case
