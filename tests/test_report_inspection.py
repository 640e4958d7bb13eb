"""Every figure of an inspection against numbers worked out by hand, and every warning where it should come."""

import math

import pytest

from copgkit import Completion, DataError, Group, Prompt, Score, ScoredGroup
from copgkit.report import advise_beta, cautions, inspect_groups, write_inspection


def group(rewards, texts=None, scores=None, tokens=None, finished=None, weights=None, prompt="p", origin=""):
    """A scored group; completions are `tokens` long, 4 by default."""
    asked = Prompt(prompt, origin=origin)
    texts = texts or [f"text {k}" for k in range(len(rewards))]
    completions = tuple(
        Completion(asked, text, tuple(range((tokens or [4] * len(rewards))[k])), (finished or [True] * len(rewards))[k])
        for k, text in enumerate(texts)
    )
    columns = {"judge": rewards} if scores is None else scores
    return ScoredGroup(
        Group(asked, completions, weights),
        {name: [one if isinstance(one, Score) else Score(one) for one in column] for name, column in columns.items()},
        tuple(rewards),
    )


def kinds(inspection):
    return [warning.partition(":")[0] for warning in cautions(inspection)]


def sound(count=120):
    """Groups with nothing to say about: rewards 0 and 1, in turn the longer and the shorter one better."""
    return [group((0.0, 1.0), tokens=[8, 10] if n % 2 else [10, 8], prompt=f"p{n}") for n in range(count)]


def test_sound_groups_have_no_warning():
    assert cautions(inspect_groups(sound(), beta=0.5)) == []


def test_spreads_are_those_within_groups():
    found = inspect_groups([group((0.0, 2.0)), group((10.0, 10.0, 13.0))])
    assert found.reward.mean == pytest.approx(7.0)
    assert found.reward.within == pytest.approx((math.sqrt(2) + math.sqrt(3)) / 2)
    assert found.reward.spread == pytest.approx(2.5)
    assert found.reward.rms == pytest.approx(math.sqrt((1 + 1 + 1 + 1 + 4) / 5))


def test_ties_are_counted_over_the_pairs_that_are_contrasted():
    weights = ((0.0, 0.0, 1.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0))
    every = inspect_groups([group((1.0, 1.0, 2.0)), group((3.0, 3.0))]).signal
    assert (every.groups_without, every.tied_pairs) == (0.5, 2 / 4)
    assert inspect_groups([group((1.0, 1.0, 2.0), weights=weights)]).signal.tied_pairs == 0.0


def test_the_scale_is_the_deviation_over_beta_in_nats_and_for_each_token():
    found = inspect_groups([group((0.0, 1.0), tokens=[5, 15])], beta=0.1)
    assert found.nats == pytest.approx(math.sqrt(0.5) / 0.1)
    assert found.nats_per_token == pytest.approx(math.sqrt(0.5) / 0.1 / 10)
    assert inspect_groups([group((0.0, 1.0))]).nats is None
    assert inspect_groups([group((0.0, 1.0))], beta=0.0).nats is None


def test_form_counts_what_is_cut_off_repeated_or_empty():
    groups = [
        group((0.0, 1.0, 2.0), texts=["a", "a", " "], finished=[True, False, True]),
        group((0.0, 1.0, 3.0), texts=["a", "b", "c"]),
    ]
    form = inspect_groups(groups).form
    assert form.unfinished == pytest.approx(1 / 6)
    assert form.repeated == pytest.approx(1 / 6)
    assert form.empty == pytest.approx(1 / 6)
    assert form.prompts_repeated == 0.5


def test_a_reward_of_half_a_point_a_token_correlates_with_length_whatever_the_prompts_are_worth():
    groups = [group((100.0 * n, 100.0 * n + 1.0), tokens=[4, 6], prompt=f"p{n}") for n in range(3)]
    length = inspect_groups(groups).length
    assert length.correlation == pytest.approx(1.0)
    assert length.slope == pytest.approx(0.5)
    assert inspect_groups([group((0.0, 1.0))]).length.correlation is None


def test_without_token_ids_lengths_are_words():
    prompt = Prompt("p")
    texts = (Completion(prompt, "one two three"), Completion(prompt, "one"))
    found = inspect_groups([ScoredGroup(Group(prompt, texts), {}, (0.0, 1.0))])
    assert (found.unit, found.mean_length) == ("words", 2.0)


def test_the_parts_of_the_sources_sum_to_the_whole():
    scores = {"big": [0.0, 3.0, 3.0], "small": [0.0, -1.0, 1.0]}
    found = inspect_groups([group((0.0, 2.0, 4.0), scores=scores)])
    big, small = found.sources
    assert big.share + small.share == pytest.approx(1.0)
    assert big.share == pytest.approx((4 + 0 + 2) / 8)  # (-2·-2 + 1·0 + 1·2) / (4 + 0 + 4)
    (pair,) = found.agreements
    assert (pair.pairs, pair.rank_correlation) == (2, 0.0)  # 0-1 opposite, 0-2 alike, 1-2 tied for 'big'


def test_abstentions_and_failures_are_counted_and_take_no_part_in_ranks():
    scores = {"a": [0.0, Score.abstain(), 1.0], "b": [0.0, 5.0, Score.failed("no")]}
    found = inspect_groups([group((0.0, 5.0, 1.0), scores=scores)])
    assert [(one.abstained, one.failed) for one in found.sources] == [
        (pytest.approx(1 / 3), 0.0),
        (0.0, pytest.approx(1 / 3)),
    ]
    assert found.agreements[0].pairs == 0


def test_an_outlier_is_named_with_its_distance():
    groups = [*sound(), group((0.0, 60.0), tokens=[9, 9], origin="posts.jsonl:7")]
    found = inspect_groups(groups)
    assert {(one.place, one.reward) for one in found.outliers} == {("posts.jsonl:7", 60.0), ("posts.jsonl:7", 0.0)}
    assert abs(found.outliers[0].deviations) == pytest.approx(30 / (1.4826 * 0.5))
    assert kinds(found) == ["outliers"]
    assert found.heaviest_share == pytest.approx(1800 / (1800 + 120 * 0.5))


def test_groups_that_lack_rewards_are_refused_with_the_remedy():
    lacking = ScoredGroup(group((0.0, 1.0)).group, {}, ())
    with pytest.raises(DataError, match="copgkit score"):
        inspect_groups([lacking])
    with pytest.raises(DataError, match="no groups"):
        inspect_groups([])


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ([group((1.0, 1.0), tokens=[9, 9], prompt=f"q{n}") for n in range(120)], "signal"),
        ([group((0.0, 1.0), tokens=[9, 9], finished=[False] * 2, prompt=f"q{n}") for n in range(40)], "truncation"),
        (
            [group((0.0,) * 9 + (1.0,), ["same"] * 10, tokens=[9] * 10, prompt=f"q{n}") for n in range(900)],
            "duplicates",
        ),
        ([group((0.0, 1.0), ["", "a"], tokens=[9, 9], prompt=f"q{n}") for n in range(10)], "empty"),
        ([group((0.0, 1.0), tokens=[1, 19], prompt=f"q{n}") for n in range(200)], "length"),
    ],
)
def test_each_fault_has_its_warning(changed, kind):
    assert kind in kinds(inspect_groups([*sound(), *changed]))


def test_sources_that_rank_against_each_other_are_told_and_those_that_agree_are_not():
    def with_other(sign):
        rows = ((0.0, 3.0), (0.0, sign))
        return inspect_groups(
            [group((0.0, 3.0 + sign), scores={"a": rows[0], "b": rows[1]}, prompt=f"p{n}") for n in range(60)]
        )

    (warning,) = cautions(with_other(-1.0))
    assert warning.startswith("sources: 'a' and 'b' rank")
    assert "-1.00 over 60 pairs" in warning
    assert cautions(with_other(1.0)) == []


@pytest.mark.parametrize(("beta", "expected"), [(0.01, "raise beta"), (0.5, None), (10.0, "Lower beta")])
def test_a_beta_out_of_all_proportion_is_told_with_another_one(beta, expected):
    warnings = cautions(inspect_groups(sound(), beta))
    assert [expected in warning for warning in warnings] == ([True] if expected else [])
    assert all("0.35 is one to begin with" in warning for warning in warnings)


def test_the_advice_moves_a_deviation_two_nats_and_says_what_that_costs():
    advice = advise_beta(inspect_groups(sound()))
    sigma = math.sqrt(0.5)
    assert advice.beta == float(f"{sigma / 2:.2g}")
    assert advice.kl == pytest.approx((sigma / advice.beta) ** 2 / 2)
    assert advice.gain == pytest.approx(sigma**2 / advice.beta)
    assert advice.sweep == "objective.beta=0.17,0.35,0.7"


def test_the_advice_scales_with_the_reward_and_needs_one_that_varies():
    assert advise_beta(inspect_groups([group((0.0, 10.0), tokens=[20, 20])])).beta == pytest.approx(3.5)
    assert advise_beta(inspect_groups([group((1.0, 1.0))])) is None


def test_a_bandits_single_token_has_room_for_what_its_arms_differ_by():
    arms = [group((0.0, 2.0), tokens=[1, 1], prompt=f"p{n}") for n in range(60)]
    assert cautions(inspect_groups(arms, beta=0.5)) == []  # 2.8 nats in one token
    assert kinds(inspect_groups(arms, beta=0.1)) == ["beta"]  # 14


def test_the_page_shows_table_pictures_and_advice_and_escapes_names(tmp_path):
    groups = [*sound(), group((0.0, 60.0), tokens=[9, 9], origin="<b>posts</b>")]
    page = write_inspection(tmp_path / "i.html", "<i>mine</i>", groups, inspect_groups(groups, 0.5)).read_text()
    assert page.count("<img") == 3
    assert "spread over beta" in page
    assert "&lt;b&gt;posts" in page
    assert "<b>posts" not in page
    assert "<i>mine" not in page
    assert "objective.beta=" in page
