"""Rewards without a model: functions in a file, and scores that came with the data."""

import pytest

from copgkit import Completion, Context, PluginError, Prompt, RewardError, Score
from copgkit_functions import PythonFunction, RecordedScore


@pytest.fixture
def function(tmp_path):
    """Makes a `python` source of the given code and options."""

    def make(code, **options):
        (tmp_path / "reward.py").write_text(code)
        return PythonFunction(PythonFunction.Options(file="reward.py", **options), Context("mine", tmp_path))

    return make


def _completion(text="the cat sat", prompt="the cat :", **more):
    return Completion(Prompt(prompt, origin="rows.jsonl:4", **more), text)


def test_a_first_reward_is_a_function_of_one_line(function):
    source = function("def score(completion): return len(completion.split())")
    assert source.score([_completion("a b"), _completion("a")]) == [Score(2.0), Score(1.0)]


def test_a_function_gets_the_arguments_it_names(function):
    code = "def score(completion, prompt, answer, place, times=1): return times * len(prompt + answer + place)"
    source = function(code, arguments={"times": 2})
    assert source.score([_completion(prompt="abc", answer="de", facts={"place": "f"})]) == [Score(12.0)]


def test_a_function_with_keyword_arguments_gets_all_facts(function):
    source = function("def score(completion, **facts): return facts['n']")
    assert source.score([_completion(facts={"n": 3})]) == [Score(3.0)]


def test_none_abstains_and_a_zero_is_a_zero(function):
    none, zero = function("def score(completion): return None"), function("def score(completion): return 0")
    assert none.score([_completion()])[0].value is None
    assert zero.score([_completion()])[0] == Score(0.0)


def test_a_batch_function_gets_lists(function):
    source = function("def score(completion, prompt): return [len(c) for c in completion]", batch=True)
    assert source.score([_completion("ab"), _completion("abc")]) == [Score(2.0), Score(3.0)]
    short = function("def score(completion): return [1.0]", batch=True)
    with pytest.raises(RewardError, match="must give a list of 2 numbers"):
        short.score([_completion(), _completion()])


BAD = {
    "def score(completion): return 1 / 0": r"rows\.jsonl:4, completion 'the cat sat': ZeroDivisionError.*\(line 1\)",
    "def score(completion): return 'good'": "it gave 'good' for",
    "def score(completion): return float('nan')": "it gave nan for",
    "def score(completion, colour): return 1": "it asks for 'colour', which rows.jsonl:4 does not have",
}


@pytest.mark.parametrize("code", BAD)
def test_a_bad_function_names_itself_and_the_completion(function, code):
    with pytest.raises(RewardError, match=BAD[code]):
        function(code).score([_completion()])


def test_a_missing_file_or_function_is_found_before_any_work(function, tmp_path):
    with pytest.raises(PluginError, match=r"no such function. Did you mean 'score'"):
        function("def score(completion): return 1", function="scores")
    with pytest.raises(PluginError, match=r"there is no file nothing\.py"):
        PythonFunction(PythonFunction.Options(file="nothing.py"), Context("mine", tmp_path))
    with pytest.raises(PluginError, match="does not load: SyntaxError"):
        function("def score(:")


def test_recorded_scores_come_back_and_a_missing_one_is_a_failure_not_a_zero():
    source = RecordedScore(RecordedScore.Options(column="s"))
    prompt = Prompt("p")
    found = source.score([Completion(prompt, "a", recorded_scores={"s": 0.0}), Completion(prompt, "b")])
    assert found[0] == Score(0.0)
    assert found[1].value is None
    assert "no recorded score 's'" in found[1].failure
