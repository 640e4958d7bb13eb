"""Rewards without a model: functions in a file, and scores that came with the data."""

import pytest

from copgkit import Completion, Context, DataError, PluginError, Prompt, RewardError, Score
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
    with pytest.raises(PluginError, match="must give a list of 2 numbers"):
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


NUMBERS = {
    "True": 1.0,
    "False": 0.0,
    "numpy.float32(0.5)": 0.5,
    "numpy.int64(3)": 3.0,
    "numpy.bool_(True)": 1.0,
    "numpy.array(2.0)": 2.0,
    "torch.tensor(1.5, requires_grad=True)": 1.5,
    "torch.tensor(True)": 1.0,
    "fractions.Fraction(1, 4)": 0.25,
}


@pytest.mark.parametrize("value", NUMBERS)
def test_what_numpy_torch_and_comparisons_give_are_numbers(function, value):
    code = f"import fractions, numpy, torch\ndef score(completion): return {value}"
    assert function(code).score([_completion()]) == [Score(NUMBERS[value])]


NO_NUMBERS = ["float('inf')", "10 ** 400", "[1.0]", "numpy.array([1.0])", "1j", "numpy.nan", "'1'", "b'x' * 9999"]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_finite_number_is_refused_in_a_short_message(function, value):
    with pytest.raises(RewardError, match=r"it gave .* for rows\.jsonl:4, completion 'the cat sat'") as fault:
        function(f"import numpy\ndef score(completion): return {value}").score([_completion()])
    assert len(str(fault.value)) < 300


def test_a_function_may_give_a_score_with_notes_or_a_failure(function):
    code = "from copgkit import Score\ndef score(completion): return Score.failed('no idea')"
    assert function(code).score([_completion()]) == [Score.failed("no idea")]


def test_a_batch_may_come_back_as_an_array(function):
    for code in ("numpy.array([1.0, 2.0])", "torch.tensor([1.0, 2.0])", "(1, True + 1)"):
        source = function(f"import numpy, torch\ndef score(completion): return {code}", batch=True)
        assert source.score([_completion(), _completion()]) == [Score(1.0), Score(2.0)]


@pytest.mark.parametrize("value", ["'ab'", "numpy.zeros((2, 1))", "{'a': 1, 'b': 2}", "(x for x in (1, 2))", "1.0"])
def test_a_batch_of_another_form_is_refused(function, value):
    source = function(f"import numpy\ndef score(completion): return {value}", batch=True)
    with pytest.raises((PluginError, RewardError), match=r"must give a list of 2 numbers|it gave \[0\.0\] for"):
        source.score([_completion(), _completion()])


def test_facts_that_only_some_prompts_have_are_none_in_a_batch(function):
    source = function("def score(completion, **facts): return [n or 0 for n in facts['n']]", batch=True)
    assert source.score([_completion(), _completion(facts={"n": 5})]) == [Score(0.0), Score(5.0)]
    assert source.score([]) == []


def test_what_a_function_changes_stays_its_own(function):
    facts = {"words": ["a", "b"]}
    code = "def score(completion, words, seen):\n    seen.append(1)\n    words.clear()\n    return len(seen)"
    source = function(code, arguments={"seen": []})
    before = source.fingerprint()
    assert source.score([_completion(facts=facts), _completion(facts=facts)]) == [Score(1.0), Score(1.0)]
    assert facts == {"words": ["a", "b"]}
    assert source.fingerprint() == before


def test_exit_in_a_function_is_an_error_and_not_the_end_of_the_program(function):
    with pytest.raises(RewardError, match=r"called exit\(3\) \(line 2\)"):
        function("import sys\ndef score(completion): sys.exit(3)").score([_completion()])
    with pytest.raises(PluginError, match=r"the file does not load: it called exit\('bye'\)"):
        function("raise SystemExit('bye')")


def test_functions_that_would_never_give_a_number_are_refused_before_any_work(function):
    with pytest.raises(PluginError, match=r"it is async.*asyncio\.run"):
        function("async def score(completion): return 1")
    with pytest.raises(PluginError, match="it yields"):
        function("def score(completion): yield 1")
    with pytest.raises(PluginError, match=r"gives 'tims', which it does not take\. It takes: completion, times"):
        function("def score(completion, times=1): return 1", arguments={"tims": 2})


def test_an_argument_of_the_recipe_goes_before_a_fact_of_its_name(function):
    source = function("def score(completion, n): return n", arguments={"n": 2})
    assert source.score([_completion(facts={"n": 1})]) == [Score(2.0)]


# Recorded scores -----------------------------------------------------------------------------------------------------


def _recorded(text="x", **scores):
    return Completion(Prompt("p", origin="rows.jsonl:4"), text, recorded_scores=scores)


def test_recorded_scores_come_back_and_a_missing_one_is_a_failure_not_a_zero():
    source = RecordedScore(RecordedScore.Options(column="s"))
    prompt = Prompt("p")
    found = source.score([Completion(prompt, "a", recorded_scores={"s": 0.0}), Completion(prompt, "b")])
    assert found[0] == Score(0.0)
    assert found[1].value is None
    assert "no recorded score 's'" in found[1].failure
    assert "it came without scores" in found[1].failure


def test_a_column_that_one_completion_lacks_is_a_failure_that_names_what_there_is():
    source = RecordedScore(RecordedScore.Options(column="judge"))
    found, missing = source.score([_recorded(judge=1.0), _recorded(human=2.0, length=3.0)])
    assert found == Score(1.0)
    assert missing.failure == "no recorded score 'judge'; there are: human, length"


def test_a_column_that_is_nearly_there_is_suggested():
    (missing,) = RecordedScore(RecordedScore.Options(column="jugde")).score([_recorded(human=1.0, judge=1.0)])
    assert missing.failure == "no recorded score 'jugde'; did you mean 'judge'?"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "good", [1.0]])
def test_a_recorded_value_that_is_no_finite_number_is_refused_with_its_row(value):
    source = RecordedScore(RecordedScore.Options(column="judge"), Context("recorded"))
    with pytest.raises(DataError, match=r"rows\.jsonl:4, completion 'x': .*the score 'judge' is .*finite number"):
        source.score([_recorded(judge=value)])


def test_recorded_scores_are_not_stored_a_second_time():
    assert RecordedScore.stored is False
