"""What the samplers of copgkit do with a round, by hand-made numbers, and that they go on exactly after a restart."""

import json
import math
import random
from collections import Counter

import pytest
from sampler_world import PROMPT, World, Worth, share

from copgkit import (
    Completion,
    Group,
    Prompt,
    RecipeError,
    Recorded,
    Sampler,
    SamplerContext,
    SamplerUse,
    SamplingPlan,
    Score,
    ScoredGroup,
)
from copgkit.engine.judge import Judge
from copgkit.engine.scoring import Panel
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
    generating,
)
from copgkit_samplers.buffer import Buffer, content_key

of = SamplerUse.of
POLICY = of(PolicySampler, completions_per_prompt=4)
PROMPTS = (
    PROMPT,
    Prompt(({"role": "user", "content": "Choose well."},), id="1", recorded=(Recorded("a"), Recorded("b"))),
    Prompt("Once more.", facts={"hint": "c"}, answer="a", recorded=(Recorded("b", {"r": 1.0}), Recorded("c"))),
    PROMPT,
)


def scored(*rewards, weights=None, prompt=PROMPT, texts=None):
    texts = texts or [str(number) for number in range(len(rewards))]
    group = Group(prompt, tuple(Completion(prompt, text, (0,)) for text in texts), weights)
    return ScoredGroup(group, {"worth": [Score(reward) for reward in rewards]}, tuple(rewards))


def a_round(world, wanted=8):
    """One round without training: what is trained on."""
    groups, _ = world.policy.encode(world.sampler.draw(wanted))
    told = world.rounds.panel.score(groups)
    selected = list(world.sampler.select(told))
    world.sampler.observe(told)
    return selected


class Given(Sampler):
    """Gives nothing; for the samplers around it."""

    seen = 0

    def draw(self, num_groups):
        return []

    def observe(self, groups):
        type(self).seen += len(groups)


def around(cls, **options):
    """The sampler around one that gives nothing."""
    return cls(cls.Options(sampler=of(Given), **options), SamplerContext(name="s", prompts=PROMPTS))


def weights_of(groups):
    return [group.group.pair_weights for group in groups]


# Contrasts ------------------------------------------------------------------------------------------------------------


def test_best_against_worst_counts_the_pairs_of_extremes():
    (kept,) = weights_of(around(BestVsWorst).select([scored(1.0, 3.0, 2.0, 3.0)]))
    assert kept == ((0, 1, 0, 1), (1, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0))
    (alike,) = weights_of(around(BestVsWorst).select([scored(1.0, 1.0, 1.0)]))
    assert alike == ((0, 1, 1), (1, 0, 1), (1, 1, 0))


def test_above_a_threshold_the_threshold_itself_counts_as_above():
    sampler = around(AboveThreshold, threshold=2)
    (kept,) = weights_of(sampler.select([scored(1.0, 2.0, 3.0), scored(5.0, 6.0)]))
    assert kept == ((0, 1, 1), (1, 0, 0), (1, 0, 0))
    assert sampler.statistics() == {"groups/without-pairs": 1}


def test_a_contrast_keeps_the_weights_of_a_sampler_inside_and_all_pairs_takes_them_away():
    given = ((0.0, 0.25, 0.5), (0.25, 0.0, 1.0), (0.5, 1.0, 0.0))
    (kept,) = weights_of(around(AboveThreshold, threshold=2).select([scored(1.0, 2.0, 3.0, weights=given)]))
    assert kept == ((0, 0.25, 0.5), (0.25, 0, 0), (0.5, 0, 0))
    assert weights_of(around(AllPairs).select([scored(1.0, 2.0, 3.0, weights=given)])) == [None]


def test_the_first_completion_stays_the_first_when_others_are_dropped_and_its_group_goes_with_it():
    use = of(FirstVsRest, sampler=of(RecordedSampler))
    (group,) = World(use).sampler.draw(1)
    assert group.pair_weights == ((0, 1, 1), (1, 0, 0), (1, 0, 0))
    without_last, without_first = (
        ScoredGroup(group.only(keep), {"worth": [Score(1.0)] * 2}, (1.0, 2.0)) for keep in ([0, 1], [1, 2])
    )
    assert World(use).sampler.select([without_last, without_first]) == [without_last]


# Difficulty -----------------------------------------------------------------------------------------------------------


def test_groups_without_signal_are_left_out_or_kept_in_part():
    groups = [scored(1.0, 1.0, texts=[str(n), "x"]) for n in range(400)] + [scored(0.0, 1.0)]
    assert list(around(DifficultySampler).select(groups)) == groups[-1:]
    assert list(around(DifficultySampler, keep_without_signal=1).select(groups)) == groups
    part = len(around(DifficultySampler, keep_without_signal=0.25).select(groups)) - 1
    assert pytest.approx(part, abs=4.5 * math.sqrt(400 * 0.25 * 0.75)) == 400 * 0.25


def test_a_range_judges_by_the_mean_of_the_prompts_groups():
    easy, hard, even = scored(1.0, 0.8), scored(0.0, 0.1), scored(0.0, 1.0)
    alone = around(DifficultySampler, reward_between=(0.2, 0.8))
    assert list(alone.select([easy, hard, even])) == [even]
    assert alone.statistics() == {"groups/without-signal-dropped": 0, "groups/out-of-range": 2}
    remembering = around(DifficultySampler, reward_between=(0.2, 0.79), memory=0.75)
    remembering.observe([easy])
    # .75 of .9, the first mean, and .25 of .5: over by little; the next one brings it down.
    assert list(remembering.select([even])) == []
    remembering.observe([even])
    assert list(remembering.select([even])) == [even]
    other = scored(0.0, 1.0, prompt=PROMPTS[1])
    assert list(remembering.select([other])) == [other]


def test_groups_are_drawn_ahead_so_that_enough_are_left():
    world = World(of(DifficultySampler, draw_ahead=3, sampler=of(PolicySampler, completions_per_prompt=2)))
    assert len(world.sampler.draw(8)) == 24
    assert len(a_round(world)) == 8
    plan = world.use.plan
    assert (plan.drawn_per_group, plan.generations_per_group) == (3, 2)


def test_a_range_from_high_to_low_is_refused():
    with pytest.raises(ValueError, match=r"the first number is the larger\. Write \[low, high\]"):
        of(DifficultySampler, sampler=POLICY, reward_between=(0.8, 0.2))


# Replay ---------------------------------------------------------------------------------------------------------------


def test_a_round_is_part_fresh_and_part_earlier_groups_and_none_of_them_twice():
    world = World(of(ReplaySampler, share=0.75, sampler=of(PolicySampler, completions_per_prompt=6)), prompts=PROMPTS)
    first, *later = [a_round(world) for _ in range(12)]
    assert len(first) == 8
    earlier = {content_key(group) for group in first}
    for selected in later:
        keys = [content_key(group) for group in selected]
        assert len(set(keys)) == len(keys)
        fresh, again = keys[:2], keys[2:]
        assert set(again) <= earlier
        earlier |= set(fresh)
    assert world.sampler.statistics()["replayed/groups"] == 6


def test_groups_over_the_age_are_let_go_and_no_more_than_the_capacity_is_held():
    world = World(of(ReplaySampler, capacity=5, sampler=of(PolicySampler, completions_per_prompt=8)))
    for _ in range(6):
        a_round(world)
    assert world.sampler.statistics()["buffer/groups"] == 5
    young = World(of(ReplaySampler, max_age=1, sampler=of(PolicySampler, completions_per_prompt=8)))
    for _ in range(6):
        a_round(young)
        assert young.sampler.statistics().get("replayed/age", 1) == 1


def test_a_group_that_comes_again_is_held_once_and_counts_as_new():
    buffer = Buffer(3)
    one, other = scored(1.0, 2.0), scored(1.0, 2.0, texts=["x", "y"])
    buffer.add([one, other], 0)
    buffer.add([one], 4)
    buffer.forget_before(4)
    (held,) = buffer.choose(3, random.Random(0), None)
    assert (held.scored, held.round) == (one, 4)


def test_a_choice_by_reward_has_the_odds_of_its_temperature():
    buffer, chance = Buffer(9), random.Random(0)
    buffer.add([scored(0.0, 0.0, texts=["poor", "x"]), scored(1.0, 1.0, texts=["rich", "x"])], 0)

    def rich(temperature):
        chosen = [buffer.choose(1, chance, temperature)[0].scored.rewards[0] for _ in range(4000)]
        return sum(chosen) / len(chosen)

    for temperature, odds in ((1.0, math.e), (0.5, math.e**2), (None, 1.0)):
        expected = odds / (1 + odds)
        assert rich(temperature) == pytest.approx(expected, abs=4.5 * math.sqrt(expected * (1 - expected) / 4000))


def test_replay_around_a_sampler_that_draws_once_is_refused():
    with pytest.raises(RecipeError, match=r"'replay' needs a sampler that draws round after round.*train\.epochs"):
        _ = of(ReplaySampler, sampler=of(ReferenceSampler)).plan


# Mixture --------------------------------------------------------------------------------------------------------------


class Counted(Given):
    """Draws groups of its own name and counts what it is shown."""

    class Options(Sampler.Options):
        text: str

    def setup(self):
        self.selected, self.observed = [], []

    def draw(self, num_groups):
        pair = tuple(Completion(PROMPT, self.options.text + end) for end in ("1", "2"))
        return [Group(PROMPT, pair)] * num_groups

    def select(self, scored):
        self.selected += scored
        return scored[:1]

    def observe(self, groups):
        self.observed += groups

    @classmethod
    def plan(cls, options):
        return SamplingPlan(2, 4, options.text, drawn_per_group=0.5)


def test_shares_are_kept_in_whole_groups_over_the_rounds():
    world = World(of(MixtureSampler, samplers=[share(1, Counted, text="a"), share(3, Counted, text="b")]))
    counts = Counter(group.completions[0].text for _ in range(20) for group in world.sampler.draw(2))
    assert counts == {"a1": 10, "b1": 30}


def test_each_sampler_selects_and_observes_its_own_groups_even_if_some_are_lost():
    sampler = World(of(MixtureSampler, samplers=[share(1, Counted, text="a"), share(1, Counted, text="b")])).sampler
    drawn = sampler.draw(6)
    told = [ScoredGroup(group, {}, (1.0, 2.0)) for group in drawn[1:4] + drawn[5:]]  # a a b, then b
    selected = sampler.select(told)
    sampler.observe(told)
    assert [group.group.completions[0].text for group in selected] == ["a1", "b1"]
    assert [len(inner.selected) for inner in sampler._inner] == [2, 2]
    assert {group.group.completions[0].text for group in sampler._inner[1].observed} == {"b1"}


def test_the_plan_of_a_mixture_is_the_mean_of_its_samplers():
    plan = of(MixtureSampler, samplers=[share(1, Counted, text="policy"), share(3, PolicySampler)]).plan
    assert plan.completions_per_prompt is None
    assert plan.drawn_per_group == pytest.approx(0.25 * 0.5 + 0.75)
    assert plan.drawn_per_group * plan.generations_per_group == pytest.approx(0.25 * 0.5 * 4 + 0.75 * 4)
    assert plan.generator == "policy"
    once = of(MixtureSampler, samplers=[share(1, RecordedSampler), share(1, ReferenceSampler)])
    assert once.plan.generator == "reference"
    assert once.unmade.steps_per_round is None
    assert not once.unmade.on_policy


# All of them ----------------------------------------------------------------------------------------------------------

MIXED = of(
    MixtureSampler,
    samplers=[
        share(1, RecordedSampler),
        share(1, ReferenceSampler),
        share(2, DifficultySampler, sampler=POLICY, memory=0.5, reward_between=(0, 2.4), keep_without_signal=0.5),
    ],
)
WHOLE = {
    "recorded": of(RecordedSampler),
    "reference": of(ReferenceSampler),
    "policy": POLICY,
    "difficulty": of(DifficultySampler, sampler=POLICY, memory=0.5, reward_between=(0, 2.4)),
    "replay": of(ReplaySampler, sampler=POLICY, choice="reward", max_age=3, capacity=20),
    "mixture": MIXED,
    "best-vs-worst-of-replay-of-mixture": of(BestVsWorst, sampler=of(ReplaySampler, sampler=MIXED)),
    "replay-of-first-vs-rest": of(ReplaySampler, sampler=of(FirstVsRest, sampler=POLICY)),
    "mixture-of-replays": of(
        MixtureSampler, samplers=[share(1, ReplaySampler, sampler=POLICY), share(2, ReplaySampler, sampler=POLICY)]
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_restored_sampler_goes_on_exactly_from_plain_json(name):
    whole, again = (World(WHOLE[name], prompts=PROMPTS) for _ in range(2))
    for _ in range(4):
        a_round(whole)
    state = whole.sampler.state()
    saved = json.dumps(state, allow_nan=False)
    assert json.loads(saved) == state
    again.sampler.restore(json.loads(saved))
    for _ in range(3):
        assert a_round(again) == a_round(whole)
    assert again.sampler.state() == whole.sampler.state()


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_drawn_does_not_depend_on_how_many_prompts_share_a_call(name, monkeypatch):
    whole, alone = (World(WHOLE[name], prompts=PROMPTS) for _ in range(2))
    expected = [a_round(whole) for _ in range(3)]
    monkeypatch.setattr(generating, "_PROMPTS_PER_CALL", 1)
    assert [a_round(alone) for _ in range(3)] == expected


def test_a_prompt_gets_the_same_completions_in_any_order_and_others_when_it_comes_again():
    def by_prompt(prompts):
        world = World(of(ReferenceSampler, completions_per_prompt=12), prompts=prompts)
        rounds = [world.sampler.draw(None), world.sampler.draw(4), world.sampler.draw(4)]
        return [{repr(group.prompt.content): group.completions for group in groups} for groups in rounds]

    distinct = (*PROMPTS[:3], Prompt("A fourth."))
    first, second, third = by_prompt(distinct)
    assert by_prompt(distinct[::-1])[0] == first
    assert all(first[key] != second[key] != third[key] for key in first)


def test_the_groups_of_a_repeated_prompt_differ():
    world = World(of(ReferenceSampler, completions_per_prompt=12), prompts=(PROMPT,) * 5)
    assert len({tuple(one.text for one in group.completions) for group in world.sampler.draw(None)}) == 5


def test_wrappers_pass_on_what_they_are_shown_and_close_what_is_inside():
    Given.seen = 0
    closed = []
    sampler = around(AllPairs)
    sampler.inner.close = lambda: closed.append(1)
    sampler.observe([scored(1.0, 2.0)] * 3)
    sampler.close()
    assert (Given.seen, closed) == (3, [1])


def test_rewards_of_replayed_groups_are_those_of_their_round():
    world = World(of(ReplaySampler, sampler=of(PolicySampler, completions_per_prompt=6)))
    a_round(world)
    world.rounds.panel = Panel([Judge("worth", Worth(Worth.Options(rewards={"a": 9.0, "b": 9.0, "c": 9.0})))])
    fresh, again = a_round(world)[0], a_round(world)[-1]
    assert set(fresh.rewards) == {9.0}
    assert set(again.rewards) != {9.0}
