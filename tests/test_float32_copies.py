"""Weights of 16 bits: steps too small for them are not lost, and training ends where float32 ends."""

from __future__ import annotations

import copy

import pytest
import torch

import copgkit
from copgkit.engine.float32_copies import Float32Copies


def _weight(value=1.0, size=4):
    return torch.nn.Parameter(torch.full((size,), value, dtype=torch.bfloat16))


def _steps(optimiser, weight, count, gradient=1.0):
    for _ in range(count):
        weight.grad = torch.full_like(weight, gradient)
        optimiser.step()
        optimiser.zero_grad()


def test_a_hundred_steps_too_small_for_a_bfloat16_number_move_it_all_the_same():
    ours, theirs = _weight(), _weight()
    _steps(Float32Copies([ours], lr=1e-4, weight_decay=0.0), ours, 100)
    _steps(torch.optim.AdamW([theirs], lr=1e-4, weight_decay=0.0), theirs, 100)
    assert theirs.tolist() == [1.0] * 4, "what the copies are for"
    assert ours.tolist() == torch.full((4,), 0.99).bfloat16().tolist()


def test_a_weight_of_32_bits_takes_the_steps_of_adamw_itself():
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
    _steps(Float32Copies([ours], lr=0.01), ours, 3, gradient=0.3)
    _steps(torch.optim.AdamW([theirs], lr=0.01), theirs, 3, gradient=0.3)
    assert torch.equal(ours, theirs)


def test_what_was_kept_goes_on_bit_for_bit_and_the_weights_alone_would_not():
    through, first = _weight(0.3), _weight(0.3)
    unbroken, before = (Float32Copies([one], lr=3e-4) for one in (through, first))
    _steps(unbroken, through, 5)
    _steps(before, first, 2)
    kept, saved = copy.deepcopy(before.state_dict()), first.detach().clone()
    again, without = (torch.nn.Parameter(saved.clone()) for _ in range(2))
    resumed = Float32Copies([again], lr=3e-4)
    resumed.load_state_dict(kept)
    _steps(resumed, again, 3)
    assert torch.equal(resumed.param_groups[0]["params"][0], unbroken.param_groups[0]["params"][0])
    assert torch.equal(again, through)
    bare = Float32Copies([without], lr=3e-4)
    _steps(bare, without, 3)
    assert not torch.equal(bare.param_groups[0]["params"][0], unbroken.param_groups[0]["params"][0])


def test_what_was_kept_before_the_first_step_takes_the_weights_as_they_are():
    kept = Float32Copies([_weight()], lr=0.1).state_dict()
    weight = _weight(0.5)
    optimiser = Float32Copies([weight], lr=0.1)
    with torch.no_grad():
        weight.fill_(0.25)  # as a checkpoint fills it, before the optimiser is asked
    optimiser.load_state_dict(kept)
    assert optimiser.param_groups[0]["params"][0].tolist() == [0.25] * 4


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_policy_folder):
    from recipe_world import write_run

    posts = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]
    return write_run(
        tmp_path_factory.mktemp("run"),
        tiny_policy_folder,
        posts,
        {"reward.py": "def score(completion):\n    return float('cat' in completion)\n"},
        rewards=[{"use": "python", "options": {"file": "reward.py"}}],
        train={"epochs": 12, "groups_per_step": 4, "learning_rate": 3e-4, "schedule": "constant", "warmup": 0.0},
    )


def test_training_in_16_bits_ends_where_float32_ends(recipe, tmp_path):
    rows = {}
    for dtype in ("float32", "bfloat16"):
        result = copgkit.run(recipe, set={"policy.dtype": dtype}, output=tmp_path / dtype)
        rows[dtype] = [row["train/residual/rms"] for row in result.rows if "train/residual/rms" in row]
    first, last = rows["float32"][0], rows["float32"][-1]
    assert last < 0.7 * first, "float32 learns"
    assert rows["bfloat16"][-1] == pytest.approx(last, rel=0.1)
