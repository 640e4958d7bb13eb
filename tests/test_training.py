"""The loop: it reaches exact optima, and how a step is computed does not change it."""

import math

import pytest
import torch

from copgkit import Completion, Group, Prompt, Score, ScoredGroup, TrainingError
from copgkit.engine.objectives import Objective
from copgkit.engine.reference import Example, Reference
from copgkit.engine.tabular import TabularPolicy
from copgkit.engine.training import TrainingSettings, align

ARMS = ("a", "b", "c")
REWARDS = dict(zip(ARMS, (2.5, 2.0, 1.0), strict=True))
PROMPT = Prompt("Choose.")


def _scored(*arms, rewards=REWARDS, **more):
    group = Group(PROMPT, tuple(Completion(PROMPT, arm) for arm in arms), **more)
    return ScoredGroup(group, {"r": [Score(rewards[arm]) for arm in arms]}, tuple(rewards[arm] for arm in arms))


def _examples(policy, *groups):
    encoded, _ = policy.encode([scored.group for scored in groups])
    encoded_groups = [
        ScoredGroup(group, scored.scores, scored.rewards) for group, scored in zip(encoded, groups, strict=True)
    ]
    return Reference(policy.frozen_copy()).examples(encoded_groups)


def _optimum(beta):
    weights = torch.tensor([math.exp(REWARDS[arm] / beta) for arm in ARMS], dtype=torch.float64)
    return weights / weights.sum()


def _train(groups, objective=None, completions_at_once=None, **settings):
    policy = TabularPolicy(ARMS)
    policy.tokens_per_forward = completions_at_once or policy.tokens_per_forward
    settings = TrainingSettings(**({"learning_rate": 0.05, "epochs": 600, "groups_per_step": 8} | settings))
    rows = []
    examples = _examples(policy, *groups)
    align(
        policy,
        [examples],
        objective or Objective("copg", beta=0.5),
        settings,
        settings.steps_for(len(examples)),
        on_step=lambda step, row: rows.append(row),
    )
    return policy, rows


def test_off_policy_pairs_reach_the_optimum_and_the_residual_tells():
    policy, rows = _train([_scored("c", "c"), _scored("b", "c"), _scored("a", "b")])
    torch.testing.assert_close(policy.probabilities(PROMPT), _optimum(0.5), atol=1e-4, rtol=0)
    assert rows[-1]["train/residual/rms"] < 1e-3 < rows[0]["train/residual/rms"]


def test_groups_of_different_sizes_train_together():
    policy, _ = _train([_scored("a", "b", "c"), _scored("b", "c")])
    torch.testing.assert_close(policy.probabilities(PROMPT), _optimum(0.5), atol=1e-4, rtol=0)


def test_pairs_that_a_sampler_switches_off_do_not_train():
    only_first_two = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    policy, _ = _train([_scored("a", "b", "c", pair_weights=only_first_two)], epochs=200)
    probabilities = policy.probabilities(PROMPT)
    assert probabilities[0] / probabilities[1] == pytest.approx(math.exp(1.0), rel=1e-3)
    # The unseen arm's logit has no gradient: it stays where it was while the sum of the others' logits stays too.
    assert probabilities[2] / (probabilities[0] * probabilities[1]) ** 0.5 == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("completions_at_once", [1, 2, 3, 5])
def test_forward_passes_of_any_size_take_the_same_step(completions_at_once):
    groups = [_scored("a", "b", "c"), _scored("b", "c"), _scored("a", "c"), _scored("c", "b", "b"), _scored("a", "b")]
    whole, whole_rows = _train(groups, epochs=3)
    parts, part_rows = _train(groups, epochs=3, completions_at_once=completions_at_once)
    torch.testing.assert_close(parts.probabilities(PROMPT), whole.probabilities(PROMPT), atol=1e-12, rtol=0)
    for one, other in zip(whole_rows, part_rows, strict=True):
        assert one["train/loss/mean"] == pytest.approx(other["train/loss/mean"], rel=1e-9)
        assert one["train/gradient-norm/value"] == pytest.approx(other["train/gradient-norm/value"], rel=1e-9)


def test_a_constant_added_to_the_rewards_of_a_prompt_changes_nothing():
    shifted = {arm: value + 100 for arm, value in REWARDS.items()}
    one, _ = _train([_scored("a", "b", "c")], epochs=5)
    other, _ = _train([_scored("a", "b", "c", rewards=shifted)], epochs=5)
    torch.testing.assert_close(one.probabilities(PROMPT), other.probabilities(PROMPT), atol=1e-12, rtol=0)


def test_rounds_are_asked_for_one_at_a_time_so_that_they_can_come_from_the_current_policy():
    policy = TabularPolicy(ARMS)
    seen = []

    def rounds():
        for _ in range(3):
            seen.append(policy.probabilities(PROMPT).clone())
            yield _examples(policy, _scored("a", "c"))

    settings = TrainingSettings(learning_rate=0.1, schedule="constant", warmup=0.0)
    assert align(policy, rounds(), Objective("copg", beta=0.5), settings, total_steps=3) == 3
    assert seen[0][0] < seen[1][0] < seen[2][0]


def test_training_stops_at_total_steps_in_the_middle_of_an_epoch():
    policy = TabularPolicy(ARMS)
    examples = _examples(policy, *[_scored("a", "b")] * 10)
    settings = TrainingSettings(groups_per_step=2, epochs=5)
    assert settings.steps_for(10) == 25
    assert align(policy, [examples], Objective(), settings, total_steps=7) == 7


def test_logged_figures_equal_hand_computed_ones():
    _, rows = _train([_scored("a", "b")], epochs=1)
    row = rows[0]
    # At the reference h = 0, so A = R: the residual is sqrt((2.5 - 2)^2 / 2), the loss that squared over beta.
    assert row["train/residual/rms"] == pytest.approx(math.sqrt(0.125))
    assert row["train/loss/mean"] == pytest.approx(0.25)
    assert row["train/reward/mean"] == 2.25
    assert row["train/log-ratio/mean"] == pytest.approx(0.0, abs=1e-15)
    assert row["train/log-prob-best/mean"] == pytest.approx(math.log(1 / 3))


@pytest.mark.parametrize("completions_at_once", [None, 2])
def test_the_entropy_of_the_policy_is_logged_per_token_if_asked_for(completions_at_once):
    groups = [_scored("a", "b", "c"), _scored("b", "c")]
    _, rows = _train(groups, epochs=40, log_entropy=True, completions_at_once=completions_at_once)
    assert rows[0]["train/entropy/mean"] == pytest.approx(math.log(3)), "of three arms that are equally likely"
    assert rows[-1]["train/entropy/mean"] < rows[0]["train/entropy/mean"]
    _, without = _train(groups, epochs=40, completions_at_once=completions_at_once)
    for row, plain in zip(rows, without, strict=True):
        assert {name: value for name, value in row.items() if name != "train/entropy/mean"}.keys() == plain.keys()
        assert row["train/loss/mean"] == plain["train/loss/mean"]


def test_rows_are_logged_only_as_often_as_asked():
    _, rows = _train([_scored("a", "b")], epochs=10, log_every=4)
    assert [step for step, row in enumerate(rows, start=1) if row] == [1, 4, 8]


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_prompts():
    policy = TabularPolicy(ARMS)
    bad = Example(_examples(policy, _scored("a", "b"))[0].scored, (math.nan, 0.0))
    before = policy.probabilities(PROMPT).clone()
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan.*Choose.*Lower the learning rate"):
        align(policy, [[bad]], Objective(), TrainingSettings(max_bad_steps=0), total_steps=1)
    torch.testing.assert_close(policy.probabilities(PROMPT), before)


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    _train([_scored("a", "b"), _scored("b", "c")], epochs=2)
    assert torch.equal(torch.get_rng_state(), before)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_budget_once_says_so_and_takes_the_same_step():
    groups = [_scored("a", "b", "c"), _scored("b", "c")]
    whole, _ = _train(groups, epochs=1)
    policy, told = TabularPolicy(ARMS), []
    policy.tokens_per_forward = 5
    examples = _examples(policy, *groups)
    _refuse_more_than(policy, 3)
    settings = TrainingSettings(learning_rate=0.05, groups_per_step=8)
    align(policy, [examples], Objective("copg", beta=0.5), settings, 1, tell=told.append)
    assert policy.tokens_per_forward == 2
    assert len(told) == 1
    assert "out of memory; going on with 2 tokens in a forward pass" in told[0]
    torch.testing.assert_close(policy.probabilities(PROMPT), whole.probabilities(PROMPT), atol=1e-12, rtol=0)


def test_out_of_memory_again_stops_with_the_remedy():
    policy = TabularPolicy(ARMS)
    policy.tokens_per_forward = 5
    examples = _examples(policy, _scored("a", "b", "c"), _scored("b", "c"))
    _refuse_more_than(policy, 0)
    with pytest.raises(TrainingError, match=r"train\.tokens_per_forward: memory does not suffice for 2 tokens"):
        align(policy, [examples], Objective("copg", beta=0.5), TrainingSettings(), 1)


def test_another_runtime_error_is_not_taken_for_a_lack_of_memory():
    policy = TabularPolicy(ARMS)
    examples = _examples(policy, _scored("a", "b"))
    policy.log_probs = lambda groups: torch.zeros(2) @ torch.zeros(3)
    with pytest.raises(RuntimeError, match="size"):
        align(policy, [examples], Objective("copg", beta=0.5), TrainingSettings(), 1)


def _refuse_more_than(policy, completions):
    """As torch's allocator for the CPU does."""
    log_probs = policy.log_probs

    def limited(groups):
        if sum(len(group.completions) for group in groups) > completions:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return log_probs(groups)

    policy.log_probs = limited
