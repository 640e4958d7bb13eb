"""The tabular policy: exact probabilities, seeded draws, and states for prompts that come up at any time."""

import collections
import math

import pytest
import torch

from copgkit import Completion, DataError, GenerationSettings, Group, ModelError, Prompt
from copgkit.engine.policy import EncodingReport
from copgkit.engine.tabular import TabularPolicy

ONE, TWO = Prompt("one"), Prompt(({"role": "user", "content": "two"},))


def group(prompt, *arms):
    return Group(prompt, tuple(Completion(prompt, arm) for arm in arms))


def test_it_starts_at_the_reference_divided_by_its_sum():
    policy = TabularPolicy(["a", "b", "c"], [1, 1, 2])
    assert policy.probabilities(ONE).tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert TabularPolicy(["a", "b"]).probabilities(TWO).tolist() == pytest.approx([0.5, 0.5])


def test_log_probs_are_those_of_the_arms_and_absent_ones_have_no_gradient():
    policy = TabularPolicy(["a", "b", "c"], [1, 1, 2])
    logp_GK = policy.log_probs([group(ONE, "c", "a", "a"), group(TWO, "b", "c")])
    quarter, half = math.log(0.25), math.log(0.5)
    torch.testing.assert_close(
        logp_GK.detach(), torch.tensor([[half, quarter, quarter], [quarter, half, 0.0]], dtype=torch.float64)
    )
    (gradient,) = torch.autograd.grad(logp_GK[1, 2], list(policy.parameters()), retain_graph=True)
    assert not gradient.any()
    # d ln pi(a) / d logits = indicator - probabilities, in the prompt's own state only.
    (gradient,) = torch.autograd.grad(logp_GK[0, 1], list(policy.parameters()))
    assert gradient[0].tolist() == pytest.approx([0.75, -0.25, -0.5])
    assert not gradient[1:].any()


def test_encode_gives_the_arm_as_the_one_token_and_leaves_out_small_groups():
    policy = TabularPolicy(["a", "b"])
    kept, report = policy.encode([group(ONE, "b", "a", "b"), group(TWO, "a")])
    assert [c.token_ids for c in kept[0].completions] == [(1,), (0,), (1,)]
    assert report == EncodingReport(groups_too_small=1)
    assert policy.num_tokens([group(ONE, "a", "b"), group(TWO, "a")]).tolist() == [[1, 1], [1, 0]]


def test_an_unknown_arm_is_named():
    with pytest.raises(DataError, match=r"'z' is not an arm of this policy\. Known: a, b"):
        TabularPolicy(["a", "b"]).encode([group(ONE, "z", "a")])


@pytest.mark.parametrize("arms", [["a"], ["a", "a"]])
def test_arms_must_be_two_and_distinct(arms):
    with pytest.raises(ModelError, match=r"policy\.arms"):
        TabularPolicy(arms)


@pytest.mark.parametrize("reference", [[0.5], [1.0, 0.0]])
def test_the_reference_must_give_every_arm_a_positive_number(reference):
    with pytest.raises(ModelError, match=r"policy\.reference"):
        TabularPolicy(["a", "b"], reference)


def test_draws_come_as_often_as_their_probabilities_and_repeat_with_the_seed():
    policy = TabularPolicy(["a", "b", "c"], [0.2, 0.3, 0.5])
    (row,) = policy.generate([ONE], 20_000, GenerationSettings(seed=7))
    counts = collections.Counter(completion.text for completion in row)
    for arm, probability in zip("abc", (0.2, 0.3, 0.5), strict=True):
        assert counts[arm] / 20_000 == pytest.approx(probability, abs=0.015)
    assert policy.generate([TWO, ONE], 50, GenerationSettings(seed=7))[1] == row[:50]
    assert policy.generate([ONE], 50, GenerationSettings(seed=8))[0] != row[:50]
    assert all(c.finished and policy.arms[c.token_ids[0]] == c.text for c in row)


def test_temperature_zero_takes_the_likeliest_arm():
    policy = TabularPolicy(["a", "b", "c"], [0.2, 0.5, 0.3])
    assert {c.text for c in policy.generate([ONE], 9, GenerationSettings(temperature=0))[0]} == {"b"}


def test_a_prompt_that_comes_up_after_the_optimiser_was_made_is_trained_too():
    policy = TabularPolicy(["a", "b"])
    optimiser = torch.optim.SGD(policy.parameters(), lr=1.0)
    (-policy.log_probs([group(TWO, "a")]).sum()).backward()
    optimiser.step()
    assert policy.probabilities(TWO).tolist() == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.e)])
    assert policy.probabilities(ONE).tolist() == pytest.approx([0.5, 0.5])


def test_more_prompts_than_there_is_room_for_are_refused():
    policy = TabularPolicy(["a", "b"], max_prompts=1)
    policy.probabilities(ONE)
    policy.probabilities(ONE)
    with pytest.raises(ModelError, match="room for 1 prompts met one more"):
        policy.probabilities(TWO)


def test_a_frozen_copy_neither_moves_nor_trains():
    policy = TabularPolicy(["a", "b"])
    policy.probabilities(ONE)
    frozen = policy.frozen_copy()
    policy.module.logits_SA.data[0, 0] += 3
    assert frozen.probabilities(ONE).tolist() == pytest.approx([0.5, 0.5])
    assert frozen.probabilities(TWO).tolist() == pytest.approx([0.5, 0.5])
    assert not frozen.log_probs([group(ONE, "a")]).requires_grad


def test_a_saved_policy_is_read_back(tmp_path):
    policy = TabularPolicy(["a", "b"], [1, 3])
    policy.probabilities(ONE)
    policy.probabilities(TWO)
    policy.module.logits_SA.data[1, 0] += 2
    policy.save(tmp_path / "model")
    again = TabularPolicy.load(tmp_path / "model")
    for prompt in (TWO, ONE, Prompt("new")):
        torch.testing.assert_close(again.probabilities(prompt), policy.probabilities(prompt))
