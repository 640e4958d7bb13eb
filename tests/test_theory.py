"""The checks of `copgkit verify`: they hold, they cover the list, and they fail when the mathematics is wrong."""

import json
from pathlib import Path

import pytest
import torch

from copgkit.engine import objectives
from copgkit.theory import bandit, gradients, loops, optima, sequences, verify
from copgkit.theory.exact import kl, minimum, problem, stationary_point
from copgkit.theory.finding import Finding

SLOW = {"literal_recipe", "literal_recipe_converged", "no_regularisation"}


def _name(claim):
    return getattr(claim, "__name__", None) or f"{claim.func.__name__}-{claim.args[0]}"


QUICK = [claim for claim in [*gradients.claims(), *optima.claims()] if _name(claim).split("-")[0] not in SLOW]
OTHERS = [sequences.sums_not_means, sequences.only_completion_tokens_are_trained, *loops.claims()]


@pytest.mark.parametrize("claim", [*QUICK, *OTHERS], ids=_name)
def test_the_claim_holds(claim):
    finding = claim()
    assert finding.holds, finding


def test_every_claim_of_the_list_is_checked():
    named = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "24"}
    assert {claim().claim for claim in gradients.claims()} >= named
    source = "".join(Path(module.__file__).read_text() for module in (optima, sequences))
    assert all(f'"{number}"' in source for number in (15, 16, 17, 18, 19, 20, 21, 22, 23, 25))


def test_no_regularisation_drifts():
    assert optima.no_regularisation().holds


@pytest.mark.slow
@pytest.mark.parametrize("name", optima.LITERAL_RECIPE)
def test_the_literal_recipe_gives_the_papers_figures(name):
    assert optima.literal_recipe(name).holds


def test_a_shorter_literal_recipe_falls_towards_the_optimum():
    found = bandit.train(bandit.methods()[0], range(3), 30, every=15)
    assert found[0].mean() > found[15].mean() > found[30].mean() > 0.05


def _with_half_beta(logp_GK, ref_logp_GK, reward_GK, pair_weight_GKK, beta, clip=None):
    return ORIGINAL(logp_GK, ref_logp_GK, reward_GK, pair_weight_GKK, beta / 2, clip)


def _with_a_wrong_sign(logp_GK, ref_logp_GK, reward_GK, pair_weight_GKK, beta, clip=None):
    return ORIGINAL(ref_logp_GK, logp_GK, reward_GK, pair_weight_GKK, beta, clip)


ORIGINAL = objectives.copg


@pytest.mark.parametrize("mistake", [_with_half_beta, _with_a_wrong_sign])
def test_a_mistake_in_the_loss_is_found(monkeypatch, mistake):
    monkeypatch.setattr(optima, "copg", mistake)
    broken = [optima.skewed_data(), optima.spanning_tree(), optima.quadratic_in_logits(), optima.reference_refresh()]
    assert not any(finding.holds for finding in broken)


def test_a_number_that_is_not_a_number_does_not_hold():
    assert not Finding("0", "x", float("nan"), 1.0).holds


def test_minimum_and_stationary_point_agree_where_both_exist():
    case = problem(4, seed=0)
    group, one = torch.arange(4)[None], torch.ones(1, dtype=torch.float64)

    def loss(theta):
        return optima._loss(theta, case, group, one)

    def descent(theta):
        return torch.func.grad(loss)(theta)

    assert kl(minimum(loss, 4), stationary_point(descent, 4)) < 1e-12


def test_the_regret_curves_have_a_line_for_each_method_with_its_range():
    curves = bandit.regret_curves(seeds=(0, 1), epochs=10)
    assert set(curves.lines) == {"CoPG", "PG, b = E_pi[R]", "IPO", "PG, b = 0"}
    assert all(low <= mean <= high for points in curves.lines.values() for _, mean, low, high in points)
    assert [point[0] for point in curves.lines["CoPG"]] == [0.0, 10.0]


def test_a_few_steps_of_the_transformer_come_nearer_to_the_optimum():
    world = sequences.World.make()
    assert world.probabilities().sum().item() == pytest.approx(1.0, abs=1e-5)
    before = kl(world.exact.optimum, world.probabilities()).item()
    after = sequences.end_to_end(steps=250, size=64).value
    assert after < 0.8 * before


def test_verify_prints_value_and_tolerance_and_fails_if_a_claim_does(monkeypatch, capsys):
    good, bad = Finding("1", "fine", 1e-12, 1e-9, "detail"), Finding("2", "not fine", 0.5, 1e-9)
    monkeypatch.setattr(verify, "claims", lambda: iter([lambda: good]))
    assert verify.main() == 0
    monkeypatch.setattr(verify, "claims", lambda: iter([lambda: good, lambda: bad]))
    assert verify.main() == 1
    out = capsys.readouterr().out
    assert "1.0e-12 <= 1e-09" in out
    assert "FAILED   2  not fine" in out
    assert verify.main(json=True) == 1
    assert [row["holds"] for row in json.loads(capsys.readouterr().out)] == [True, False]
