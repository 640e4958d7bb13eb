"""Every first-party component keeps the contract of its kind, with options as a recipe would give them."""

import json

import pytest
from judge_server import judge_server
from nli_models import NAMES, tiny_classifier

from copgkit import Completion, Prompt, Sample, Score
from copgkit.registry import Registry
from copgkit.testing import (
    EvaluatorContract,
    PromptSourceContract,
    RewardSourceContract,
    SamplerContract,
    check,
    check_reward_source,
    some_completions,
)

CONTRACTS = {
    "prompt source": PromptSourceContract,
    "sampler": SamplerContract,
    "reward source": RewardSourceContract,
    "evaluator": EvaluatorContract,
}
POSTS = [{"prompt": "the cat", "facts": {"n": 1}}, {"prompt": "the dog", "chosen": "ran", "rejected": "sat"}]
REWARD = (
    "def score(completion, answer):\n    return None if completion == 'nothing' else len(completion) - len(answer)\n"
)
METRIC = """\
import datasets
import evaluate

class Share(evaluate.Metric):
    def _info(self):
        kind = datasets.Value("string")
        features = datasets.Features({"predictions": kind, "references": kind})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)
    def _compute(self, predictions, references):
        return {"share": sum(a == b for a, b in zip(predictions, references)) / len(predictions)}
"""


@pytest.fixture
def folder(tmp_path, tiny_reward_folder):
    """A recipe's folder with data, a reward function, a metric and a model."""
    import datasets

    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in POSTS))
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list([{"prompt": "a", "answer": "x"}]).to_parquet(str(tmp_path / "set/train.parquet"))
    (tmp_path / "reward.py").write_text(REWARD)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/metrics.py").write_text(METRIC)
    (tmp_path / "reward-model").symlink_to(tiny_reward_folder)
    tiny_classifier(tmp_path / "nli", *NAMES)
    return tmp_path


def _completion(text, **changes):
    return Completion(Prompt("p", answer="known"), text, **changes)


def _program(result):
    facts = {"entry_point": "f", "inputs": [[1], [2]], "outputs": [2, 4]}
    return Completion(Prompt("Double it.", facts=facts), f"def f(x):\n    return {result}")


def _tested_program(result):
    facts = {"test_list": ["assert f(2) == 4"], "hidden_test_list": ["assert f(3) == 6"]}
    return Completion(Prompt("Double it.", facts=facts), f"def f(x):\n    return {result}")


CASES = {
    "prompt source/jsonl": {"options": {"path": "posts.jsonl", "limit": 2}},
    "prompt source/parquet": {"options": {"path": "set/*.parquet"}},
    "prompt source/hub": {"options": {"dataset": "set"}},
    "sampler/recorded": {},
    "sampler/reference": {"options": {"completions_per_prompt": 3, "temperature": 0.7}},
    "sampler/policy": {"options": {"every": 2}},
    "sampler/mixture": {"options": {"samplers": [{"use": "recorded"}, {"use": "policy", "share": 2}]}},
    "sampler/replay": {"options": {"sampler": {"use": "policy"}, "choice": "reward", "max_age": 3}},
    "sampler/difficulty": {"options": {"sampler": {"use": "policy"}, "reward_between": [2, 9], "memory": 0.5}},
    "sampler/all-pairs": {"options": {"sampler": {"use": "reference"}}},
    "sampler/first-vs-rest": {"options": {"sampler": {"use": "recorded"}}},
    "sampler/best-vs-worst": {"options": {"sampler": {"use": "policy", "options": {"every": 2}}}},
    "sampler/above-threshold": {"options": {"sampler": {"use": "reference"}, "threshold": 4}},
    "reward source/python": {
        "options": {"file": "reward.py"},
        "other_options": {"file": "reward.py", "function": "score", "arguments": {}, "batch": True},
        "abstains_on": [_completion("nothing")],
        "fails_on": [Completion(Prompt("p"), "there is no answer to this one")],
    },
    "reward source/recorded": {
        "options": {"column": "judge"},
        "other_options": {"column": "other"},
        "fails_on": [_completion("unscored")],
    },
    "reward source/reward-model": {
        "options": {"model": "reward-model", "batch_size": 4},
        "other_options": {"model": "reward-model", "input": "pair"},
        "completions": [one for one in some_completions() if not one.prompt.is_conversation],
    },
    "reward source/nli": {
        "options": {"model": "nli", "window_tokens": 16, "overlap_tokens": 4, "sentence_tokens": 16, "batch_size": 4},
        "other_options": {"model": "nli", "window_tokens": 16, "overlap_tokens": 4, "sentence_tokens": 8},
        "fails_on": [Completion(Prompt(" "), "it ran")],
    },
    "reward source/length": {"options": {"minimum": 3}, "other_options": {"minimum": 2}},
    "reward source/copy-rate": {"other_options": {"span_words": 2}},
    "reward source/format": {"other_options": {"open": -0.5}},
    "reward source/unit-tests": {
        "options": {"profile": "weak", "workers": 2},
        "other_options": {"profile": "weak", "workers": 2, "value": "share-passed"},
        "completions": [_program("2 * x"), _program("x + 1"), _program("x +"), _program("x / 0"), _program("f(x)")],
    },
    "reward source/metric": {
        "options": {"metric": "bleu", "without_answer": "abstain"},
        "other_options": {"metric": "bleu", "arguments": {"max_order": 2}},
        "abstains_on": [Completion(Prompt("p"), "there is no answer to this one")],
    },
    "evaluator/reward-summary": {},
    "evaluator/kl": {},
    "evaluator/win-rate": {},
    "evaluator/rouge": {"options": {"types": ["rouge1"]}},
    "evaluator/metric": {"options": {"metric": "metrics"}},
    "evaluator/hidden-tests": {
        "options": {"run": {"profile": "weak", "workers": 2}},
        "samples": [
            Sample(_tested_program(result), {"unit-tests": Score(value)}, value, 0.1)
            for result, value in (("2 * x", 1.0), ("4", 1.0), ("x + 1", 0.0))
        ],
    },
    "evaluator/pass-at-k": {"options": {"source": "judge", "passed_from": 2, "k": [1, 2]}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_first_party_component_keeps_its_contract(case, folder):
    kind, name = case.split("/")
    item = Registry.load().get(kind, name)
    members = {"component": item.cls, "name": name, "folder": folder, "seconds": 120, **CASES[case]}
    assert [str(finding) for finding in check(type("Case", (CONTRACTS[kind],), members))] == []


def test_the_judge_keeps_its_contract(folder):
    def grade(number, body):
        return f"Grade: {len(body['messages'][-1]['content']) % 10}"

    judge = Registry.load().get("reward source", "judge").cls
    with judge_server(grade) as (url, _):
        options = {"url": url, "model": "m", "prompt": "Grade this: {completion}", "grade_range": [0, 10]}
        assert check_reward_source(judge, options, other_options=options | {"temperature": 0.5}) == []


def test_no_first_party_component_is_without_a_contract():
    known = {f"{item.kind}/{item.name}" for item in Registry.load() if item.distribution == "copgkit"}
    assert known - {"reward source/judge"} == set(CASES), "add a case above"
