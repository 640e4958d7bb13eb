"""Every sampler through the real loop: to the exact optimum where it covers the space, else with a warning."""

import math
import re

import pytest
import torch
from sampler_world import ARMS, PROMPT, REFERENCE, REWARDS, World, share

from copgkit import Prompt, Recorded, SamplerUse, TrainingError
from copgkit_samplers import (
    AboveThreshold,
    AllPairs,
    BestVsWorst,
    DifficultySampler,
    FirstVsRest,
    MixtureSampler,
    PolicySampler,
    RecordedSampler,
    ReferenceSampler,
    ReplaySampler,
)

of = SamplerUse.of
POLICY = of(PolicySampler, completions_per_prompt=4)
PAIRS = of(PolicySampler, completions_per_prompt=2, every=2)
NEAR = 1e-4  # nats


FRESH = {
    "policy": POLICY,
    "policy-every-4-steps": of(PolicySampler, completions_per_prompt=4, every=4),
    "policy-at-low-temperature": of(PolicySampler, completions_per_prompt=4, temperature=0.8),
    "replay": of(ReplaySampler, sampler=POLICY),
    "replay-by-reward": of(ReplaySampler, sampler=POLICY, share=0.75, choice="reward", temperature=0.5, max_age=20),
    "mixture": of(MixtureSampler, samplers=[share(1, RecordedSampler), share(3, PolicySampler, every=2)]),
    "difficulty": of(DifficultySampler, sampler=PAIRS),
    "all-pairs": of(AllPairs, sampler=of(FirstVsRest, sampler=POLICY)),
    "first-vs-rest": of(FirstVsRest, sampler=POLICY),
    "contrast-of-replay-of-mixture": of(
        FirstVsRest,
        sampler=of(
            ReplaySampler,
            sampler=of(MixtureSampler, samplers=[share(1, ReferenceSampler), share(1, PolicySampler)]),
        ),
    ),
}
ONCE = {
    "recorded": of(RecordedSampler),
    "reference": of(ReferenceSampler, completions_per_prompt=12),
    "mixture": of(MixtureSampler, samplers=[share(1, RecordedSampler), share(1, ReferenceSampler)]),
    "first-vs-rest": of(FirstVsRest, sampler=of(RecordedSampler)),
}


@pytest.mark.parametrize("name", FRESH)
def test_fresh_rounds_reach_the_optimum_without_a_warning(name):
    world = World(FRESH[name], groups_per_step=6).train(180, rate=0.06, betas=(0.9, 0.99))
    assert world.kl() < NEAR
    assert world.progress.warnings == []


@pytest.mark.parametrize("name", ONCE)
def test_groups_drawn_once_reach_the_optimum_without_a_warning(name):
    world = World(ONCE[name]).train(300, epochs=300)
    assert len(world.rows) == 1
    assert world.kl() < NEAR
    assert world.progress.warnings == []


CAVEATS = {
    "top_p": (of(PolicySampler, top_p=0.9), r"top_p = 0\.9 never writes the rarer tokens"),
    "best-vs-worst": (of(BestVsWorst, sampler=POLICY), "neither best nor worst"),
    "above-threshold": (of(AboveThreshold, sampler=POLICY, threshold=1.5), "on one side of the threshold"),
    "difficulty": (of(DifficultySampler, sampler=POLICY, reward_between=(0, 2.2)), r"outside \[0, 2\.2\]"),
    "replay": (of(ReplaySampler, sampler=of(PolicySampler, top_p=0.5)), "top_p"),
}


@pytest.mark.parametrize("name", CAVEATS)
def test_a_sampler_that_may_not_cover_the_space_warns_once(name):
    use, words = CAVEATS[name]
    world = World(use, groups_per_step=8).train(3)
    (warning,) = world.progress.warnings
    assert re.search(words, warning)


def test_the_caveats_are_true():
    middle = World(of(BestVsWorst, sampler=of(RecordedSampler))).train(300, epochs=300)
    a, b, c = middle.policy.probabilities(PROMPT).tolist()
    ref_a, ref_b, ref_c = REFERENCE
    assert a / c == pytest.approx(
        ref_a / ref_c * math.exp((2.5 - 1.0) / 0.5), rel=1e-3
    )  # the pair that counts is right
    assert b / (a * c) ** 0.5 == pytest.approx(ref_b / (ref_a * ref_c) ** 0.5, rel=1e-3)  # b was not trained
    easy = World(of(DifficultySampler, sampler=PAIRS, reward_between=(0, 1.6)), groups_per_step=6).train(
        180, rate=0.06, betas=(0.9, 0.99)
    )
    a, b, c = easy.policy.probabilities(PROMPT).tolist()
    assert b / c == pytest.approx(ref_b / ref_c * math.exp((2.0 - 1.0) / 0.5), rel=0.02)
    assert easy.kl() > 0.1


def test_above_a_threshold_the_pairs_connect_a_prompt_with_both_sides_and_leave_others_alone():
    low = Prompt("Low.", recorded=(Recorded("b"), Recorded("a")))
    use = of(AboveThreshold, threshold=1.5, sampler=of(RecordedSampler))
    world = World(use, prompts=(PROMPT, low)).train(300, epochs=300)
    assert world.kl() < NEAR  # a - c and b - c are a tree
    assert world.policy.probabilities(low).tolist() == pytest.approx(REFERENCE)
    assert world.rows[0]["sampler/groups/without-pairs"] == 1


def test_a_union_of_samplers_covers_what_any_one_of_them_covers():
    cut, whole = share(1, PolicySampler, top_p=0.5), share(1, PolicySampler)
    assert World(of(MixtureSampler, samplers=[cut, whole])).sampler.caveat is None
    assert "top_p" in World(of(MixtureSampler, samplers=[cut, cut])).sampler.caveat


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("number", [2, 5])
def test_the_gradient_of_an_on_policy_step_is_rloos(number, beta):
    world = World(of(PolicySampler, completions_per_prompt=number), beta=beta, groups_per_step=6)
    logits_SA = world.policy.module.logits_SA
    world.policy.probabilities(PROMPT)
    logits_SA.data[0] += torch.tensor([0.3, -0.4, 0.2], dtype=torch.float64)  # away from the reference
    gradients = []
    logits_SA.register_hook(lambda gradient: gradients.append(gradient[0].clone()))
    policy_A, reference_A = world.policy.probabilities(PROMPT), world.start.probabilities(PROMPT)
    world.train(1)
    wanted = torch.zeros(3, dtype=torch.float64)
    for scored in world.kept[-1]:
        arms = [ARMS.index(completion.text) for completion in scored.group.completions]
        regularised = [REWARDS[ARMS[arm]] - beta * (policy_A[arm] / reference_A[arm]).log().item() for arm in arms]
        for arm, value in zip(arms, regularised, strict=True):
            others = (sum(regularised) - value) / (number - 1)
            score_A = torch.nn.functional.one_hot(torch.tensor(arm), 3) - policy_A  # the gradient of ln pi(arm)
            wanted += (value - others) * score_A
    # The loss is a mean over pairs and groups: 2 / K of RLOO's sum over a group, with the sign of a descent.
    torch.testing.assert_close(gradients[0], -2 / number * wanted / 6, atol=1e-14, rtol=1e-10)
    assert wanted.abs().max() > 0.1


def test_fresh_rounds_without_any_signal_do_not_end_a_run_at_once():
    alike = {"a": 1.0, "b": 1.0, "c": 1.0}
    with pytest.raises(TrainingError, match="all completions have the same reward"):
        World(POLICY, rewards=alike).train(100)
    with pytest.raises(TrainingError, match="selected none of the 16 groups of a round, 20 in a row"):
        World(of(DifficultySampler, sampler=POLICY), rewards=alike).train(100)
    rare = World(of(DifficultySampler, sampler=PAIRS), groups_per_step=1).train(40)  # some rounds have no signal
    assert any(row["round/groups/selected"] == 0 for row in rare.rows)
