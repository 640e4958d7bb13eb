"""The panel: what reward sources may return, and what becomes of it."""

import math

import pytest

from copgkit import Completion, Group, Prompt, RewardError, RewardSource, Score
from copgkit.engine.scoring import Judge, Panel


class Table(RewardSource):
    """Scores by text from a dictionary that a test gives."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def score(self, completions):
        return [self.table[completion.text] for completion in completions]


def _group(*texts, finished=True, **more):
    prompt = Prompt("Say a letter.", origin="letters.jsonl:3")
    return Group(prompt, tuple(Completion(prompt, text, finished=finished) for text in texts), **more)


def _panel(*tables, weights=(1.0, 1.0), **settings):
    judges = [Judge(f"source-{n}", Table(table), weights[n]) for n, table in enumerate(tables)]
    return Panel(judges, **settings)


def test_rewards_are_weighted_sums_and_raw_scores_are_kept():
    first, second = {"a": Score(1.0), "b": Score(2.0)}, {"a": Score(10.0), "b": Score(0.0)}
    panel = _panel(first, second, weights=(2.0, 0.5))
    (scored,) = panel.score([_group("a", "b")])
    assert scored.rewards == (7.0, 4.0)
    assert [score.value for score in scored.scores["source-1"]] == [10.0, 0.0]
    assert panel.statistics([scored]) == {
        "reward/source-0/raw-mean": 1.5,
        "reward/source-0/weighted-mean": 3.0,
        "reward/source-1/raw-mean": 5.0,
        "reward/source-1/weighted-mean": 2.5,
    }


def test_an_abstention_leaves_the_reward_to_the_others_and_is_not_a_zero():
    panel = _panel({"a": Score(1.0), "b": Score(2.0)}, {"a": Score.abstain(), "b": Score(0.0)})
    (scored,) = panel.score([_group("a", "b")])
    assert scored.rewards == (1.0, 2.0)
    assert panel.statistics([scored])["reward/source-1/raw-mean"] == 0.0
    assert panel.statistics([scored])["reward/source-1/abstained"] == 1


def test_a_failed_score_stops_by_default_and_names_source_row_and_completion():
    panel = _panel({"a": Score(1.0), "b": Score.failed("the sandbox did not start")})
    with pytest.raises(RewardError, match=r"letters.jsonl:3, completion 2 'b'.*source-0.*sandbox did not start"):
        panel.score([_group("a", "b")])


def test_failed_completions_are_dropped_and_counted_if_the_recipe_says_so():
    panel = _panel({"a": Score(1.0), "b": Score.failed("x"), "c": Score(3.0)}, on_failure="drop-completion")
    weights = ((0, 1, 2), (1, 0, 3), (2, 3, 0))
    scored = panel.score([_group("a", "b", "c", pair_weights=weights), _group("a", "b")])
    assert [[c.text for c in group.group.completions] for group in scored] == [["a", "c"]]
    assert scored[0].group.pair_weights == ((0, 2), (2, 0))
    assert (panel.completions_dropped, panel.groups_dropped) == (2, 1)


def test_a_completion_on_which_every_source_abstains_has_no_reward():
    with pytest.raises(RewardError, match="every source abstained"):
        _panel({"a": Score.abstain(), "b": Score(1.0)}).score([_group("a", "b")])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_names_source_row_and_completion(bad):
    with pytest.raises(RewardError, match=rf"'source-0', letters.jsonl:3, completion 2 'b': the score is {bad}"):
        _panel({"a": Score(1.0), "b": Score(bad)}).score([_group("a", "b")])


@pytest.mark.parametrize("bad", [1.0, None, True, "1", Score("1"), Score(True)])
def test_anything_but_a_score_with_a_number_is_refused(bad):
    with pytest.raises(RewardError, match="completion 1 'a'"):
        _panel({"a": bad, "b": Score(1.0)}).score([_group("a", "b")])


def test_a_list_of_the_wrong_length_is_refused_and_not_broadcast():
    class Short(RewardSource):
        def score_groups(self, groups):
            return [[Score(1.0)] for _ in groups]

    with pytest.raises(RewardError, match=r"returned 1 scores for 2 completions of letters.jsonl:3"):
        Panel([Judge("short", Short())]).score([_group("a", "b")])


def test_a_source_that_raises_is_named_with_the_completion_that_it_cannot_score():
    with pytest.raises(RewardError, match=r"'source-0', letters.jsonl:3, completion 2 'z': KeyError"):
        _panel({"a": Score(1.0)}).score([_group("a", "z")])


def test_the_penalty_for_an_unfinished_completion_is_added_to_its_reward_only():
    panel = _panel({"a": Score(1.0), "b": Score(2.0)}, unfinished_penalty=-1.0)
    (scored,) = panel.score([_group("a", "b", finished=False)])
    assert scored.rewards == (0.0, 1.0)
    assert [score.value for score in scored.scores["source-0"]] == [1.0, 2.0]


def test_zero_is_a_score_like_any_other():
    (scored,) = _panel({"a": Score(0.0), "b": Score(0)}).score([_group("a", "b")])
    assert scored.rewards == (0.0, 0.0)
