"""The samplers and the evaluators that come with copgkit."""

import pytest

from copgkit import (
    Completion,
    Context,
    DataError,
    Evaluation,
    Prompt,
    Recorded,
    Sample,
    SamplerContext,
    Score,
)
from copgkit_metrics.evaluators import KL, RewardSummary, Rouge, WinRate
from copgkit_metrics.intervals import mean, share
from copgkit_samplers import PolicySampler, RecordedSampler, ReferenceSampler


class Echo:
    """A generator that writes down what it was asked."""

    def __init__(self):
        self.calls = []

    def generate(self, prompts, completions_per_prompt, settings):
        self.calls.append(([prompt.content for prompt in prompts], settings))
        return [[Completion(prompt, f"{n}") for n in range(completions_per_prompt)] for prompt in prompts]


def _context(prompts, **more):
    return SamplerContext(name="s", prompts=prompts, **more)


PROMPTS = [Prompt(text, origin=f"rows.jsonl:{n}") for n, text in enumerate("abcde", start=1)]


def test_recorded_groups_come_as_they_are():
    prompt = Prompt("p", recorded=(Recorded("x", {"s": 1.0}, (5,), False), Recorded("y")))
    (group,) = RecordedSampler(RecordedSampler.Options(), _context([prompt])).draw(None)
    assert group.completions[0] == Completion(prompt, "x", (5,), False, {"s": 1.0})


def test_a_recorded_group_without_contrast_stops_or_is_left_out():
    prompts = [
        Prompt("p", origin="rows.jsonl:1", recorded=(Recorded("x"),)),
        Prompt("q", recorded=(Recorded("x"),) * 2),
    ]
    with pytest.raises(DataError, match=r"rows\.jsonl:1: 1 recorded completions"):
        RecordedSampler(RecordedSampler.Options(), _context(prompts)).draw(None)
    dropping = RecordedSampler(RecordedSampler.Options(on_small_group="drop"), _context(prompts))
    assert len(dropping.draw(None)) == 1
    assert "1 of 2 prompts" in dropping.context.progress.warnings[0]


def test_the_reference_is_asked_once_for_every_prompt():
    reference = Echo()
    sampler = ReferenceSampler(
        ReferenceSampler.Options(completions_per_prompt=3, temperature=0.7), _context(PROMPTS, reference=reference)
    )
    groups = sampler.draw(None)
    assert [len(group.completions) for group in groups] == [3] * 5
    ((asked, settings),) = reference.calls
    assert asked == list("abcde")
    assert settings.temperature == 0.7
    assert not sampler.on_policy
    assert sampler.steps_per_round is None


def test_the_policy_sampler_uses_all_prompts_before_any_comes_again():
    policy = Echo()
    sampler = PolicySampler(PolicySampler.Options(), _context(PROMPTS, policy=policy))
    drawn = [group.prompt.content for _ in range(5) for group in sampler.draw(2)]
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == list("abcde")
    assert drawn[:5] != drawn[5:]
    assert len({settings.seed for _, settings in policy.calls}) == 5


def test_a_restored_policy_sampler_goes_on_where_it_was():
    def make():
        return PolicySampler(PolicySampler.Options(every=2), _context(PROMPTS, policy=Echo()))

    whole = make()
    expected = [[group.prompt.content for group in whole.draw(3)] for _ in range(4)]
    first = make()
    first.draw(3), first.draw(3)
    second = make()
    second.restore(first.state())
    assert [[group.prompt.content for group in second.draw(3)] for _ in range(2)] == expected[2:]
    assert second.context.policy.calls[0][1] == whole.context.policy.calls[2][1]
    assert second.steps_per_round == 2


# Evaluators ----------------------------------------------------------------------------------------------------------


def _samples(*rewards, texts=None, answer=None, log_ratios=None):
    return [
        Sample(
            Completion(Prompt(f"p{n}", answer=answer), (texts or ["a b"] * len(rewards))[n], finished=n > 0),
            {"r": Score(reward)},
            reward,
            (log_ratios or [0.0] * len(rewards))[n],
        )
        for n, reward in enumerate(rewards)
    ]


def _figures(evaluator, ours, theirs=None):
    return evaluator.evaluate(Evaluation(3, ours, theirs or ours))


def test_the_mean_and_its_interval_are_the_textbooks():
    found = mean([1.0, 2.0, 3.0, 4.0])
    assert found.value == 2.5
    assert found.high - found.value == pytest.approx(1.959964 * 1.2909944 / 2)


def test_wilsons_interval_is_the_textbooks():
    found = share(8, 10)
    assert (found.low, found.high) == (pytest.approx(0.4901625), pytest.approx(0.9433178))
    assert share(0, 10).low == 0.0
    assert share(0, 10).high > 0.2


def test_the_reward_summary_leaves_out_samples_without_reward_and_says_how_many():
    figures = _figures(RewardSummary(), _samples(1.0, 3.0, None))
    assert figures["reward/mean"].value == 2.0
    assert figures["reward/failed"].value == pytest.approx(1 / 3)
    assert figures["finished/share"].value == pytest.approx(2 / 3)
    assert figures["length/mean"].value == 2.0


def test_kl_is_the_mean_log_ratio():
    assert _figures(KL(), _samples(0.0, 0.0, log_ratios=[0.5, 1.5]))["kl/mean"].value == 1.0


def test_a_tie_is_half_a_win():
    figures = _figures(WinRate(), _samples(1.0, 2.0, 3.0, None), _samples(0.0, 2.0, 4.0, 1.0))
    assert figures["win-rate/share"].value == 0.5
    assert figures["win-rate/share"].n == 3


def test_rouge_needs_no_network_and_equals_hand_counts():
    ours = _samples(0.0, 0.0, texts=["the cat sat", "x"], answer="the cat ran away")
    figures = _figures(Rouge(Rouge.Options(use_stemmer=False), Context("rouge")), ours)
    # Unigrams 2 of 3 and 2 of 4: F1 4/7; bigrams 1 of 2 and 1 of 3: F1 2/5. The second text shares nothing.
    assert figures["rouge/rouge1"].value == pytest.approx(4 / 7 / 2)
    assert figures["rouge/rouge2"].value == pytest.approx(2 / 5 / 2)


def test_rouge_without_any_answer_says_what_to_set():
    with pytest.raises(DataError, match=r"none of the 2 evaluation prompts has an answer.*answer_field"):
        _figures(Rouge(None, Context("rouge")), _samples(0.0, 0.0))
