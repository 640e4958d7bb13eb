"""The objectives against hand-computed numbers, identities of the paper, and their own invariances."""

import math

import pytest
import torch

from copgkit.engine import objectives as obj

BETA = 0.5


@pytest.fixture(autouse=True)
def _double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _random(groups=3, completions=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logp, ref_logp, reward = torch.randn(3, groups, completions, generator=generator)
    return logp.requires_grad_(), ref_logp, reward, torch.ones(groups, completions)


def _gradient(loss, logp):
    return torch.autograd.grad(loss.sum(), logp)[0]


def test_copg_of_one_pair_equals_a_hand_computed_number():
    logp, ref_logp, reward = (torch.tensor([row]) for row in ([-1.0, -2.0], [-1.5, -1.0], [2.0, 0.5]))
    # h = (.5, -1), A = (2 - .25, .5 + .5) = (1.75, 1); .75^2 / (2 * .5) = .5625
    assert obj.copg(logp, ref_logp, reward, obj.all_pairs(torch.ones(1, 2)), BETA).tolist() == [0.5625]


def test_copg_over_all_pairs_is_the_unbiased_variance_of_the_regularised_reward_over_beta():
    logp, ref_logp, reward, valid = _random()
    variance = obj.regularised_reward(logp, ref_logp, reward, BETA).var(-1, correction=1) / BETA
    torch.testing.assert_close(obj.copg(logp, ref_logp, reward, obj.all_pairs(valid), BETA), variance)


def test_the_gradient_of_a_pair_is_minus_the_papers():
    logp, ref_logp, reward, valid = _random(completions=2)
    gap = obj.regularised_reward(logp, ref_logp, reward, BETA).diff().neg().detach()
    expected = torch.cat([-gap, gap], -1)
    torch.testing.assert_close(_gradient(obj.copg(logp, ref_logp, reward, obj.all_pairs(valid), BETA), logp), expected)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_score_function_form_has_the_same_gradient(clip):
    logp, ref_logp, reward, valid = _random()
    weights = obj.all_pairs(valid)
    direct = _gradient(obj.copg(logp, ref_logp, reward, weights, BETA, clip), logp)
    indirect = _gradient(obj.copg_score_function(logp, ref_logp, reward, weights, BETA, clip), logp)
    torch.testing.assert_close(direct, indirect)


def test_the_score_function_form_without_kl_is_rloo():
    logp, ref_logp, reward, valid = _random(completions=5)
    others = (reward.sum(-1, keepdim=True) - reward) / 4
    rloo = -(reward - others) * 2 / 5
    gradient = _gradient(obj.copg_score_function(logp, ref_logp, reward, obj.all_pairs(valid), 0.0), logp)
    torch.testing.assert_close(gradient, rloo)


def test_a_constant_added_to_the_rewards_of_a_group_changes_nothing():
    logp, ref_logp, reward, valid = _random()
    weights = obj.all_pairs(valid)
    shifted = reward + torch.tensor([[3.0], [-7.0], [0.5]])
    torch.testing.assert_close(
        obj.copg(logp, ref_logp, reward, weights, BETA), obj.copg(logp, ref_logp, shifted, weights, BETA)
    )


def test_permuting_the_completions_of_a_group_permutes_the_gradient():
    logp, ref_logp, reward, valid = _random()
    order = torch.tensor([2, 0, 3, 1])
    weights = obj.all_pairs(valid)
    gradient = _gradient(obj.copg(logp, ref_logp, reward, weights, BETA), logp)
    permuted = _gradient(obj.copg(logp[:, order], ref_logp[:, order], reward[:, order], weights, BETA), logp)
    torch.testing.assert_close(gradient, permuted)


def test_absent_completions_change_neither_loss_nor_gradient():
    logp, ref_logp, reward, _ = _random(completions=4)
    valid = torch.tensor([[1.0, 1, 1, 0]] * 3)
    padded = obj.copg(logp, ref_logp, reward, obj.all_pairs(valid), BETA)
    short = obj.copg(logp[:, :3], ref_logp[:, :3], reward[:, :3], obj.all_pairs(torch.ones(3, 3)), BETA)
    torch.testing.assert_close(padded, short)
    assert _gradient(padded, logp)[:, 3].abs().max() == 0


def test_pair_weights_select_the_pairs_that_contrast():
    logp, ref_logp, reward, valid = _random(groups=1)
    only_first_against_last = torch.zeros(1, 4, 4)
    only_first_against_last[0, 0, 3] = only_first_against_last[0, 3, 0] = 7.0
    expected = obj.copg(logp[:, [0, 3]], ref_logp[:, [0, 3]], reward[:, [0, 3]], obj.all_pairs(valid[:, :2]), BETA)
    torch.testing.assert_close(obj.copg(logp, ref_logp, reward, only_first_against_last, BETA), expected)


def test_clipping_bounds_the_gradient_and_keeps_the_optimum():
    _, ref_logp, reward, valid = _random()
    weights = obj.all_pairs(valid)
    far = (ref_logp + 50 * reward).requires_grad_()
    optimum = (ref_logp + reward / BETA).requires_grad_()
    assert _gradient(obj.copg(far, ref_logp, reward, weights, BETA, clip=0.2), far).abs().max() <= 2 * 0.2
    assert _gradient(obj.copg(optimum, ref_logp, reward, weights, BETA, clip=0.2), optimum).abs().max() < 1e-14


def test_ipo_with_quarter_rewards_has_two_over_beta_times_the_gradient_of_copg():
    logp, ref_logp, _, valid = _random(completions=2)
    reward = torch.tensor([[0.25, -0.25], [-0.25, 0.25], [0.25, -0.25]])
    weights = obj.all_pairs(valid)
    ipo = _gradient(obj.ipo(logp, ref_logp, reward, weights, BETA), logp)
    torch.testing.assert_close(ipo, 2 / BETA * _gradient(obj.copg(logp, ref_logp, reward, weights, BETA), logp))


def test_dpo_of_one_pair_equals_a_hand_computed_number():
    logp, ref_logp, reward = (torch.tensor([row]) for row in ([-1.0, -2.0], [-1.5, -1.0], [0.0, 1.0]))
    # the second is preferred: h_w - h_l = -1 - .5 = -1.5; -ln sigmoid(-.75)
    loss = obj.dpo(logp, ref_logp, reward, obj.all_pairs(torch.ones(1, 2)), BETA)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(0.75)))


@pytest.mark.parametrize("objective", [obj.ipo, obj.dpo])
def test_ties_carry_no_weight_in_preference_objectives(objective):
    logp, ref_logp, _, valid = _random(completions=3)
    reward = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    gradient = _gradient(objective(logp, ref_logp, reward, obj.all_pairs(valid), BETA), logp)
    assert gradient[[0, 2]].abs().max() == 0
    assert gradient[1].abs().min() > 0


def test_the_leave_one_out_baseline_is_the_mean_of_the_others():
    logp, ref_logp, reward, _ = _random(groups=1, completions=3)
    valid = torch.tensor([[1.0, 1.0, 0.0]])
    regularised = obj.regularised_reward(logp, ref_logp, reward, BETA)
    found = obj.baseline("leave-one-out", logp, ref_logp, reward * valid, valid, BETA)
    torch.testing.assert_close(found[0, :2], regularised[0, [1, 0]].detach())


def test_value_baselines_weigh_the_completions_by_the_policy_over_the_reference():
    logp, ref_logp = torch.log(torch.tensor([[0.6, 0.3]])), torch.log(torch.tensor([[0.3, 0.3]]))
    reward, valid = torch.tensor([[1.0, 4.0]]), torch.ones(1, 2)
    assert obj.baseline("value", logp, ref_logp, reward, valid, BETA).tolist() == [pytest.approx([2.0, 2.0])]
    regularised = (2 * (1 - BETA * math.log(2)) + 4) / 3
    found = obj.baseline("regularised-value", logp, ref_logp, reward, valid, BETA)
    assert found.tolist() == [pytest.approx([regularised] * 2)]


def test_policy_gradient_without_baseline_weighs_each_completion_by_its_regularised_reward():
    logp, ref_logp, reward, valid = _random()
    gradient = _gradient(obj.policy_gradient(logp, ref_logp, reward, valid, torch.zeros_like(reward), BETA), logp)
    torch.testing.assert_close(gradient, -obj.regularised_reward(logp, ref_logp, reward, BETA).detach() / 4)


def test_the_sft_term_is_the_mean_token_loss_of_the_best_completion():
    logp, tokens = torch.tensor([[-3.0, -8.0, -1.0]]), torch.tensor([[3.0, 4.0, 1.0]])
    reward, valid = torch.tensor([[0.0, 2.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert obj.sft(logp, tokens, reward, valid).tolist() == [2.0]


def test_the_residual_is_zero_at_the_optimum_and_only_there():
    _, ref_logp, reward, valid = _random()
    weights = obj.all_pairs(valid)
    at_optimum = obj.regularised_reward(ref_logp + reward / BETA + 5.0, ref_logp, reward, BETA)
    assert obj.residual(at_optimum, weights).abs().max() < 1e-25
    assert obj.residual(reward, weights).min() > 0
