"""Evaluation by generation: what more samples for each prompt change, and what they leave as it was."""

import math

import pytest
import torch
from test_causal_lm import make_policy

from copgkit import (
    Context,
    DataError,
    Evaluation,
    Evaluator,
    GenerationSettings,
    Group,
    Prompt,
    RewardSource,
    Sample,
    Score,
)
from copgkit.engine.evaluation import Examination
from copgkit.engine.scoring import Judge, Panel
from copgkit.engine.tabular import TabularPolicy
from copgkit.types import Completion
from copgkit_unit_tests.pass_at_k import PassAtK, interval, pass_at_k


class IsB(RewardSource):
    """1 for the arm b."""

    def score(self, completions):
        return [Score(float(completion.text == "b")) for completion in completions]


class Keeps(Evaluator):
    """Keeps what it was shown."""

    def evaluate(self, evaluation):
        self.seen = evaluation
        return {}


def _examination(samples_per_prompt, evaluator, policy=None, prompts=tuple(f"prompt {n}" for n in range(20))):
    policy = TabularPolicy(["a", "b", "c"], [1, 1, 2]) if policy is None else policy
    return Examination(
        policy=policy,
        reference=policy.frozen_copy(),
        prompts=[Prompt(text) for text in prompts],
        panel=Panel([Judge("unit-tests", IsB())]),
        evaluators=[evaluator],
        settings=GenerationSettings(seed=3),
        samples_per_prompt=samples_per_prompt,
    )


def test_more_samples_leave_the_first_of_each_prompt_as_it_was():
    one, many = Keeps(), Keeps()
    _, samples = _examination(1, one).hold(0)
    _, same_samples = _examination(5, many).hold(0)
    assert [sample.completion.text for sample in samples] == [sample.completion.text for sample in same_samples]
    assert [len(row) for row in one.seen.by_prompt] == [1] * 20
    assert [len(row) for row in many.seen.by_prompt] == [5] * 20
    assert [row[0] for row in many.seen.by_prompt] == list(many.seen.samples)
    assert len(many.seen.reference_samples) == 20


def test_every_sample_of_the_policy_has_a_score_and_a_log_ratio_of_its_own():
    keeps = Keeps()
    examination = _examination(4, keeps)
    examination.hold(0)
    for parameter in examination.policy.parameters():
        parameter.data.fill_(0.0)  # uniform; the reference stays at 1/4, 1/4, 1/2
    examination.hold(1)
    expected = {"a": math.log(4 / 3), "b": math.log(4 / 3), "c": math.log(2 / 3)}
    for sample in (sample for row in keeps.seen.by_prompt for sample in row):
        assert sample.log_ratio == pytest.approx(expected[sample.completion.text])
        assert sample.reward == float(sample.completion.text == "b")


def test_a_language_model_reads_nothing_again_that_it_has_just_written(monkeypatch):
    keeps, policy = Keeps(), make_policy()
    examination = _examination(3, keeps, policy, ["2 3 4", "8", "5 6 7 9"])
    examination.hold(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.1)
    monkeypatch.setattr(policy, "log_probs", lambda groups: pytest.fail("it was read again"))
    examination.hold(1)
    groups = [Group(row[0].completion.prompt, tuple(one.completion for one in row)) for row in keeps.seen.by_prompt]
    monkeypatch.undo()
    with torch.no_grad():
        wanted = policy.log_probs(groups).double() - examination.reference.log_probs(groups).double()
    ratios = torch.tensor([[one.log_ratio for one in row] for row in keeps.seen.by_prompt], dtype=torch.float64)
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(ratios, wanted, rtol=1e-5, atol=1e-5)


def test_pass_at_k_is_the_chance_that_a_draw_of_k_holds_one_that_passes():
    assert pass_at_k(5, 2, 1) == pytest.approx(2 / 5)
    assert pass_at_k(4, 1, 2) == pytest.approx(1 / 2)  # of 6 pairs, 3 hold the one
    assert pass_at_k(5, 0, 3) == 0.0
    assert pass_at_k(5, 3, 3) == 1.0  # only two failed: three always hold one


def _evaluation(*rows):
    by_prompt = [[_sample(value) for value in row] for row in rows]
    return Evaluation(0, [row[0] for row in by_prompt], [row[0] for row in by_prompt], by_prompt)


def _sample(value):
    score = Score.failed("no sandbox") if value is None else Score(value)
    return Sample(Completion(Prompt("p"), "text"), {"unit-tests": score}, value, 0.0)


def _pass_at_k(**options):
    return PassAtK(PassAtK.Options(**options), Context("pass-at-k"))


def test_the_figures_average_over_prompts_with_wilsons_interval():
    figures = _pass_at_k(k=[2]).evaluate(_evaluation([1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]))
    assert figures["pass@1/share"].value == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert figures["pass@2/share"].value == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert figures["pass@1/share"].n == 3
    # Wilson by hand for 1 of 2: centre (1 + 1.9207) / 5.8415, half width 1.95996 / 5.8415 * sqrt(1/2 + .9604)
    estimate = interval(1, 2)
    assert (estimate.low, estimate.high) == pytest.approx((0.0945, 0.9055), abs=1e-4)


def test_a_partial_score_is_no_pass_unless_the_recipe_says_from_where():
    rows = _evaluation([0.75], [1.0])
    assert _pass_at_k().evaluate(rows)["pass@1/share"].value == 0.5
    assert _pass_at_k(passed_from=0.7).evaluate(rows)["pass@1/share"].value == 1.0


def test_samples_whose_score_failed_are_left_out_and_counted():
    figures = _pass_at_k().evaluate(_evaluation([1.0, None], [None, None]))
    assert figures["pass@1/share"].value == 1.0
    assert figures["pass@1/share"].n == 1
    assert figures["pass@k/failed"].value == 0.75


def test_too_few_samples_or_an_unknown_source_are_errors_with_the_remedy():
    with pytest.raises(DataError, match=r"pass@4 needs 4 scored samples.*Set evaluate.samples_per_prompt to 4"):
        _pass_at_k(k=[4]).evaluate(_evaluation([1.0], [0.0]))
    with pytest.raises(DataError, match="no reward source is called 'tests'; there are: 'unit-tests'"):
        _pass_at_k(source="tests").evaluate(_evaluation([1.0]))
