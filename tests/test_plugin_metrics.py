"""Metrics as rewards and as evaluators: by hand-computed numbers, by script, and without a network."""

import time

import pytest

from copgkit import (
    Completion,
    Context,
    CopgkitError,
    DataError,
    Evaluation,
    PluginError,
    Prompt,
    RewardError,
    Sample,
    Score,
)
from copgkit_metrics import loading
from copgkit_metrics.evaluators import MetricFigures
from copgkit_metrics.reward import MetricReward

SCRIPT = """
import datasets
import evaluate

class Mine(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, factor=1):
        BODY
"""


@pytest.fixture
def script(tmp_path):
    """Makes `metric` components whose metric is a script with the given body."""

    def make(body, cls=MetricReward, **options):
        (tmp_path / "mine.py").write_text(SCRIPT.replace("BODY", body))
        return cls(cls.Options(metric="mine.py", **options), Context("metric", tmp_path))

    return make


def _ours(name, **options):
    return MetricReward(MetricReward.Options(metric=name, **options), Context("metric"))


def _completion(text, answer="the cat is on the mat", **facts):
    return Completion(Prompt("p", answer=answer, facts=facts, origin="rows.jsonl:4"), text)


def _values(source, *texts, **more):
    return [score.value for score in source.score([_completion(text, **more) for text in texts])]


# The metrics that come with copgkit ---------------------------------------------------------------------------------


def test_bleu_is_that_of_lin_and_och():
    # 5 of 6 words, 3 of 5 pairs, 1 of 4 triples, 0 of 3 quadruples; one is added from the pairs on.
    long, short = _values(_ours("bleu"), "the cat sat on the mat", "the cat")
    assert long == pytest.approx((5 / 6 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25)
    # 2 of 2, (1 + 1) / (1 + 1), 1 / 1, 1 / 1, and four words too short: exp(1 - 6 / 2).
    assert short == pytest.approx(0.1353353)


def test_bleu_counts_a_word_as_often_as_the_reference_has_it():
    # "the the the": 2 of 3 words; pairs 0 of 2, triples 0 of 1, quadruples 0 of 0; exp(1 - 6 / 3).
    assert _values(_ours("bleu"), "the the the") == [pytest.approx((2 / 3 * 1 / 3 * 1 / 2) ** 0.25 * 0.3678794)]


def test_bleu_of_the_same_text_is_one_and_of_nothing_in_common_zero():
    assert _values(_ours("bleu"), "the cat is on the mat", "dogs ran", "", ".") == [pytest.approx(1.0), 0.0, 0.0, 0.0]
    assert _values(_ours("bleu"), "Yes", answer="yes") == [0.0]
    assert _values(_ours("bleu", arguments={"ignore_case": True}), "Yes", answer="yes") == [pytest.approx(1.0)]


def test_bleu_can_stop_at_another_order():
    assert _values(_ours("bleu", arguments={"max_order": 1}), "the cat sat on the mat") == [pytest.approx(5 / 6)]


def test_exact_match_ignores_white_space_and_else_only_what_it_is_told_to():
    assert _values(_ours("exact_match"), "42", " 42\n", "42.", "-42", answer="42") == [1.0, 1.0, 0.0, 0.0]
    loose = _ours("exact_match", arguments={"ignore_case": True, "ignore_punctuation": True, "ignore_articles": True})
    assert _values(loose, "the  Cat!", "A “cat”", "theatre cat", answer="cat") == [1.0, 1.0, 0.0]


def test_one_of_several_values_is_chosen_by_field():
    # Words 3 of 3 and 3 of 6: F1 2/3; pairs 1 of 2 and 1 of 5: F1 2/7.
    texts = ["the cat mat"]
    plain = {"arguments": {"use_stemmer": False}}
    assert _values(_ours("rouge", field="rouge1", **plain), *texts) == [pytest.approx(2 / 3)]
    assert _values(_ours("rouge", field="rouge2", **plain), *texts) == [pytest.approx(2 / 7)]
    with pytest.raises(RewardError, match=r"several values\. Choose one with `field`: rouge1, rouge2, rougeL"):
        _ours("rouge")
    with pytest.raises(RewardError, match="no numbers under 'rouge7'"):
        _ours("rouge", field="rouge7")
    with pytest.raises(PluginError, match="unexpected keyword argument 'stemmer'"):
        _ours("rouge", field="rouge1", arguments={"stemmer": False})


def test_a_prompt_without_answer_stops_or_abstains_as_the_recipe_says():
    completions = [_completion("cat", "cat"), _completion("cat", None), _completion("dog", "cat")]
    with pytest.raises(DataError, match=r"rows\.jsonl:4: .*the text 'answer'.*without_answer: abstain"):
        _ours("exact_match").score(completions)
    right, none, wrong = _ours("exact_match", without_answer="abstain").score(completions)
    assert (right, wrong) == (Score(1.0), Score(0.0))
    assert none == Score.abstain("no answer")
    assert _ours("bleu", without_answer="abstain").score(completions[1:2]) == [none]
    assert _ours("bleu").score([]) == []


def test_completions_can_be_compared_with_a_fact():
    assert _values(_ours("exact_match", against="facts.label"), "yes", answer=None, label="yes") == [1.0]


# Scripts ------------------------------------------------------------------------------------------------------------


def test_a_script_is_called_once_for_each_completion_or_once_for_all(script):
    single = 'return {"n": factor * len(predictions) * len(predictions[0])}'
    assert _values(script(single, arguments={"factor": 2}), "ab", "abc") == [4.0, 6.0]
    assert _values(script('return {"n": [len(p) for p in predictions]}', batch=True), "ab", "abc") == [2.0, 3.0]
    with pytest.raises(RewardError, match="gave 1 values for 2 completions at once"):
        _values(script('return {"n": 1.0}', batch=True), "ab", "abc")


def test_numbers_of_numpy_are_numbers_and_other_entries_are_passed_over(script):
    body = 'import numpy; return {"name": "x", "ok": True, "n": numpy.float32(0.5)}'
    assert _values(script(body), "ab") == [0.5]


def test_a_metric_that_raises_or_gives_nan_has_failed_for_that_completion_alone(script):
    good, raised, nan = script('return {"n": {"a": 1.0, "c": float("nan")}[predictions[0]]}').score(
        [_completion("a"), _completion("b"), _completion("c")]
    )
    assert good == Score(1.0)
    assert (raised.value, raised.failure) == (None, "the metric 'mine.py' raised KeyError: 'b'.")
    assert (nan.value, nan.failure) == (None, "the metric gave nan")


def test_a_broken_script_is_named_and_a_missing_one_before_any_work(script, tmp_path):
    with pytest.raises(PluginError, match=r"'mine\.py' cannot be loaded: SyntaxError"):
        _values(script("return ("), "a")
    with pytest.raises(PluginError, match=r"there is no metric 'other\.py'. Paths are relative"):
        MetricReward(MetricReward.Options(metric="other.py"), Context("metric", tmp_path))


def test_the_fingerprint_follows_options_and_script(script):
    first = script('return {"n": 1}').fingerprint()
    assert first == script('return {"n": 1}').fingerprint()
    assert first != script('return {"n": 1}', arguments={"factor": 2}).fingerprint()
    assert first != script('return {"n": 2}').fingerprint()


# The hub ------------------------------------------------------------------------------------------------------------


def test_a_hub_metric_without_network_says_what_to_do_at_once(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    start = time.monotonic()
    with pytest.raises(PluginError, match=r"HF_HUB_OFFLINE is set.*Load it once.*rouge, bleu, exact_match\.") as fault:
        _values(_ours("sacrebleu"), "a")
    assert time.monotonic() - start < 30
    assert "\n" not in str(fault.value)


def test_loading_that_hangs_is_left_after_its_time(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("evaluate.load", lambda *_, **__: time.sleep(3))
    start = time.monotonic()
    with pytest.raises(PluginError, match=r"TimeoutError: not done within 0\.1 seconds.*needs none"):
        _values(_ours("sacrebleu", load_timeout=0.1), "a")
    assert time.monotonic() - start < 2.5


def test_a_strangers_code_is_not_loaded_without_consent(monkeypatch):
    asked = []
    monkeypatch.setattr("evaluate.load", lambda name, **_: asked.append(name) or _Length())
    with pytest.raises(PluginError, match=r"code of 'stranger' on the hub.*trust_remote_code: true"):
        _ours("stranger/metric")
    assert asked == []
    assert _values(_ours("stranger/metric", trust_remote_code=True), "abc") == [3.0]
    assert _values(_ours("sacrebleu"), "ab") == [2.0]
    assert asked == ["stranger/metric", "evaluate-metric/sacrebleu"]


class _Length:
    def compute(self, predictions, references):
        return {"length": len(predictions[0])}


# Evaluators ---------------------------------------------------------------------------------------------------------


def _figures(evaluator, *texts):
    samples = [Sample(_completion(text), {"r": Score(0.0)}, 0.0, 0.0) for text in texts]
    return evaluator.evaluate(Evaluation(0, samples, samples))


def test_our_metrics_give_a_mean_with_its_interval():
    evaluator = MetricFigures(MetricFigures.Options(metric="exact_match"), Context("metric"))
    figure = _figures(evaluator, "the cat is on the mat", "dog", "dog", "dog")["metric/exact_match"]
    assert (figure.value, figure.n) == (0.25, 4)
    assert figure.low < 0.25 < figure.high


def test_a_scripts_number_over_all_stands_without_interval_and_words_are_passed_over(script):
    figures = _figures(script('return {"n": len(predictions), "name": "x"}', MetricFigures), "a", "b", "c")
    assert {name: (one.low, one.value, one.high, one.n) for name, one in figures.items()} == {"metric/n": (3, 3, 3, 3)}


def test_an_evaluator_whose_metric_raises_is_named(script):
    with pytest.raises(CopgkitError, match=r"evaluator 'metric': the metric 'mine\.py' raised ZeroDivisionError"):
        _figures(script("return 1 / 0", MetricFigures), "a")


def test_every_name_of_ours_leads_to_a_metric():
    for name in loading.OURS:
        source = _ours(name, field="rougeL" if name == "rouge" else None)
        assert _values(source, "the cat is on the mat") == [pytest.approx(1.0)]
