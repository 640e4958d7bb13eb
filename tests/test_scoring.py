"""The panel: what reward sources may return, and what becomes of it."""

import math
import time

import pytest

from copgkit import Completion, Group, Prompt, RewardError, RewardSource, Score
from copgkit.engine.judge import Judge
from copgkit.engine.scoring import Panel


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


def _panel_over(score, **settings):
    """A panel of one source whose `score` is the given function of the completions."""

    class Source(RewardSource):
        def score(self, completions):
            return score(completions)

    return Panel([Judge("source", Source())], **settings)


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


def test_a_score_is_clipped_then_scaled_then_shifted_then_weighted():
    table = {"a": Score(10.0), "b": Score(-3.0), "c": Score.abstain()}
    judge = Judge("mapped", Table(table), weight=-2.0, clip=(-1.0, 4.0), scale=0.5, shift=1.0)
    panel = Panel([judge, Judge("plain", Table(dict.fromkeys("abc", Score(0.25))))])
    (scored,) = panel.score([_group("a", "b", "c")])
    assert [score.value for score in scored.scores["mapped"]] == [10.0, -3.0, None]
    assert scored.mapped == {"mapped": [3.0, 0.5, None]}  # 0.5 * 4 + 1, 0.5 * -1 + 1
    assert scored.weighted == {"mapped": [-6.0, -1.0, None]}
    assert scored.rewards == (-5.75, -0.75, 0.25), "an abstention adds nothing, not the shift"
    assert scored.terms("mapped") == [-6.0, -1.0, None]
    assert scored.terms("plain") == [0.25, 0.25, 0.25]
    assert panel.statistics([scored]) == {
        "reward/mapped/raw-mean": 3.5,
        "reward/mapped/mapped-mean": 1.75,
        "reward/mapped/weighted-mean": -3.5,
        "reward/mapped/clipped": 2,
        "reward/mapped/abstained": 1,
        "reward/plain/raw-mean": 0.25,
        "reward/plain/weighted-mean": 0.25,
    }


def test_a_group_with_a_failure_is_dropped_whole_if_the_recipe_says_so():
    panel = _panel({"a": Score(1.0), "b": Score.failed("x"), "c": Score(3.0)}, on_failure="drop-group")
    scored = panel.score([_group("a", "b", "c"), _group("a", "c")])
    assert [[c.text for c in group.group.completions] for group in scored] == [["a", "c"]]
    assert (panel.completions_dropped, panel.groups_dropped) == (1, 1)
    assert panel.statistics(scored)["reward/source-0/failed"] == 1


@pytest.mark.parametrize("on_failure", ["drop-completion", "drop-group"])
def test_too_many_failures_stop_the_run_and_the_reasons_are_counted(on_failure):
    table = {"a": Score(1.0), "b": Score.failed("no sandbox"), "c": Score.failed("starved"), "d": Score(2.0)}
    settings = {"on_failure": on_failure, "max_failed_share": 0.3}
    words = r"'source-0': 3 of 8 scores failed.*max_failed_share = 0.3.*no sandbox \(2 times\); starved \(1 times\)"
    with pytest.raises(RewardError, match=words):
        _panel(table, **settings).score([_group("a", "d", "b", "b"), _group("a", "d", "c", "a")])
    few = _panel(table, **settings)
    few.score([_group("a", "d"), _group("a", "d", "d", "a"), _group("a", "d", "c", "b")])
    assert few.failures.total() == 2


def test_an_abstention_is_no_failure_and_counts_towards_no_limit():
    panel = _panel({"a": Score.abstain(), "b": Score(1.0)}, {"a": Score(0.0), "b": Score(0.0)}, max_failed_share=0.0)
    panel.on_failure = "drop-group"
    assert panel.score([_group("a", "b")])[0].rewards == (0.0, 1.0)
    assert panel.record()["failures"] == {}


def test_a_round_of_which_nothing_is_left_says_so():
    panel = _panel({"a": Score.failed("no sandbox"), "b": Score(1.0)}, on_failure="drop-completion")
    with pytest.raises(RewardError, match=r"none of 2 groups is left to train on: 'source-0' failed: no sandbox"):
        panel.score([_group("a", "b"), _group("a", "b")])


@pytest.mark.parametrize("huge", [1e30, -1e16, 1e308])
def test_a_reward_too_large_to_be_trained_on_is_refused_by_row(huge):
    with pytest.raises(RewardError, match=r"letters.jsonl:3, completion 'b'.*beyond 1e\+15.*clip"):
        _panel({"a": Score(1.0), "b": Score(huge)}).score([_group("a", "b")])


def test_a_clip_takes_the_sting_out_of_a_huge_score():
    judge = Judge("huge", Table({"a": Score(1e308), "b": Score(-1e308)}), clip=(-1.0, 1.0), scale=3.0)
    assert Panel([judge]).score([_group("a", "b")])[0].rewards == (3.0, -3.0)


RETURNS = {
    "a dict": (lambda given: {one.text: Score(1.0) for one in given}, "'source' returned dict .*not a list of scores"),
    "a set": (lambda given: {1.0}, "returned set .*not a list of scores"),
    "text": (lambda given: "0.5", "returned str '0.5', not a list of scores"),
    "nothing": (lambda given: None, "returned NoneType 'None', not a list of scores"),
    "one number": (lambda given: 1.0, "returned float '1.0', not a list of scores"),
    "numbers": (lambda given: [1.0 for _ in given], "completion 1 'a': returned float instead of a Score"),
    "bools": (lambda given: [Score(True) for _ in given], "completion 1 'a': the score's value is bool 'True'"),
    "text within": (lambda given: [Score("0.5") for _ in given], "the score's value is str '0.5', not a number"),
    "NaN": (lambda given: [Score(math.nan) for _ in given], "completion 1 'a': the score is nan"),
    "infinity": (lambda given: [Score(math.inf) for _ in given], "completion 1 'a': the score is inf"),
    "a number no float holds": (lambda given: [Score(10**9000) for _ in given], "the score is larger than any float"),
    "one too few": (lambda given: [Score(1.0)] * (len(given) - 1), "returned 1 scores for 2 completions"),
    "one too many": (lambda given: [Score(1.0)] * (len(given) + 1), "returned 3 scores for 2 completions"),
    "one for all": (lambda given: [Score(1.0)], "returned 1 scores for 2 completions"),
    "notes that are no mapping": (lambda given: [Score(1.0, ["x"]) for _ in given], "the score's notes are list"),
}


@pytest.mark.parametrize("kind", RETURNS)
def test_what_a_source_must_not_return_is_refused_with_its_name(kind):
    score, words = RETURNS[kind]
    with pytest.raises(RewardError, match=words):
        _panel_over(score).score([_group("a", "b")])


def test_a_source_that_empties_its_list_is_refused_and_changes_nothing():
    group = _group("a", "b")

    def empties(completions):
        completions.clear()
        return []

    with pytest.raises(RewardError, match=r"'source', letters.jsonl:3, completion 1 'a': AttributeError"):
        _panel_over(empties).score([group])
    assert len(group.completions) == 2


def test_a_source_that_exits_is_an_error_and_not_the_end_of_the_process():
    def exits(completions):
        raise SystemExit(0)

    with pytest.raises(RewardError, match=r"'source', letters.jsonl:3, completion 1 'a': SystemExit: 0"):
        _panel_over(exits).score([_group("a", "b")])


def test_a_source_that_hangs_stops_the_run_when_its_time_is_over():
    panel = _panel_over(lambda given: time.sleep(60), timeout_seconds=0.05)
    began = time.monotonic()
    with pytest.raises(RewardError, match=r"'source': no answer within scoring.timeout_seconds = 0.05 \(2 were asked"):
        panel.score([_group("a", "b")])
    panel.close()  # does not touch the source, which is still at work
    assert time.monotonic() - began < 5


def test_with_a_time_limit_scores_and_exceptions_arrive_as_without():
    assert _panel_over(lambda given: [Score(1.0), Score(2.0)], timeout_seconds=60).score([_group("a", "b")])[
        0
    ].rewards == (1.0, 2.0)
    with pytest.raises(RewardError, match="ZeroDivisionError"):
        _panel_over(lambda given: 1 / 0, timeout_seconds=60).score([_group("a", "b")])


@pytest.mark.parametrize("limit", [None, 60])
def test_a_timeout_of_the_source_itself_is_not_taken_for_the_panels(limit):
    def waits(completions):
        raise TimeoutError("the server did not answer")

    with pytest.raises(RewardError, match="TimeoutError: the server did not answer"):
        _panel_over(waits, timeout_seconds=limit).score([_group("a", "b")])


def test_scores_may_come_one_by_one_and_from_any_kind_of_number():
    numpy = pytest.importorskip("numpy")
    panel = _panel_over(lambda given: (Score(numpy.float32(0.5), {"n": numpy.int64(3), "x": object}) for _ in given))
    (scored,) = panel.score([_group("a", "b")])
    assert scored.rewards == (0.5, 0.5)
    score = scored.scores["source"][0]
    assert (type(score.value), type(score.notes["n"]), type(score.notes["x"])) == (float, float, str)


def test_scores_that_came_with_the_data_are_shown_only_to_sources_that_say_they_read_them():
    prompt = Prompt("Say a letter.")
    group = Group(prompt, tuple(Completion(prompt, text, recorded_scores={"judge": 0.5}) for text in "ab"))
    seen = []

    class Reads(RewardSource):
        reads_recorded_scores = True

        def score(self, completions):
            seen.append([dict(one.recorded_scores) for one in completions])
            return [Score(float(len(seen))) for _ in completions]

    class DoesNot(Reads):
        reads_recorded_scores = False

    Panel([Judge("reads", Reads()), Judge("does-not", DoesNot())]).score([group])
    assert seen == [[{"judge": 0.5}] * 2, [{}] * 2]


def test_a_source_over_whole_groups_gets_them_whole():
    class Rank(RewardSource):
        def score_groups(self, groups):
            return [
                [Score(float(sorted(map(_text, g.completions)).index(c.text))) for c in g.completions] for g in groups
            ]

    def _text(completion):
        return completion.text

    scored = Panel([Judge("rank", Rank())]).score([_group("b", "a", "c"), _group("z", "y")])
    assert [group.rewards for group in scored] == [(1.0, 0.0, 2.0), (1.0, 0.0)]


def test_a_slow_source_is_asked_about_few_at_a_time_and_a_quick_one_about_many(monkeypatch):
    from copgkit.engine import asking

    now, sizes = [0.0], []
    monkeypatch.setattr(asking.time, "monotonic", lambda: now[0])

    def source(seconds):
        def score(completions):
            sizes.append(len(completions))
            now[0] += seconds * len(completions)
            return [Score(float(n)) for n in range(len(completions))]

        return score

    groups = [_group(*"abcd") for _ in range(200)]
    _panel_over(source(1.0)).score(groups[:10])
    assert max(sizes) * 1.0 <= 8
    assert sizes[-2] <= 4
    sizes.clear()
    _panel_over(source(0.001)).score(groups)
    assert sizes == [8, 16, 32, 64, 128, 256, 296]


def test_a_source_may_fix_how_many_it_is_asked_about():
    sizes = []

    class Batched(RewardSource):
        completions_per_call = 3

        def score(self, completions):
            sizes.append(len(completions))
            return [Score(float(n)) for n in range(len(completions))]

    Panel([Judge("batched", Batched())]).score([_group(*"abcd"), _group(*"abcd")])
    assert sizes == [3, 3, 2]
