"""copgkit plugins check: the contract from the command line, with the rule that fails named, and its exit status."""

import json
from pathlib import Path

import pytest

from copgkit.cli import main

CALM = Path(__file__).parent / "foreign_plugin/calm_reward.py"
BROKEN = """
from copgkit import RewardSource, Score, hookimpl

class Relative(RewardSource):
    '''Words, beside those of the longest completion of the batch.'''
    def score(self, completions):
        longest = max((len(one.text) for one in completions), default=0)
        return [Score(len(one.text) - longest) for one in completions]

@hookimpl
def register_reward_sources(register):
    register("relative", Relative)
"""


@pytest.fixture
def check(capsys):
    """check("jsonl", ...) -> exit status, standard output, standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["plugins", "check", *map(str, arguments)])
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return call


def test_a_sound_one_file_plugin_keeps_all_rules(check):
    status, out, err = check(CALM, "--options", "tolerated=0.2")
    assert (status, err) == (0, "")
    assert "reward source 'calm'" in out
    assert "keeps all 2" in out


def test_an_installed_component_is_checked_by_name(check):
    assert check("reference", "--options", "completions_per_prompt=3")[0] == 0


def test_a_rule_that_does_not_hold_is_named_and_the_status_is_2(check, tmp_path):
    (tmp_path / "relative.py").write_text(BROKEN)
    status, out, _ = check(tmp_path / "relative.py")
    assert status == 2
    assert "  a score does not depend on the rest of the batch: score 1 is 0 instead of " in out


def test_completions_are_taken_from_a_file(check, tmp_path):
    rows = [{"prompt": "p", "completions": [{"text": "a", "scores": {"x": 1}}, {"text": "b", "scores": {"x": 0}}]}]
    (tmp_path / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("reward-source/recorded", "--options", "column=x")
    assert check(*arguments, "--data", tmp_path / "groups.jsonl")[0] == 0
    status, out, _ = check(*arguments[:2], "column=judge")
    assert status == 0, out  # the stand-ins have a column of that name


FAULTS = {
    "a name of several": (["recorded"], "2 components have this name. Say which: sampler/recorded or reward-source"),
    "a name of none": (["nothing"], "nothing is called 'nothing'"),
    "a bad option": (["reference", "--options", "temperatur=1"], "Did you mean 'temperature'?"),
    "an option without a value": (["reference", "--options", "temperature"], "Write --options key=value."),
    "a missing option": (["python"], "needs it"),
    "no such file": (["absent.py"], "no such file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_is_explained_with_status_2(check, fault):
    arguments, message = FAULTS[fault]
    status, _, err = check(*arguments)
    assert status == 2
    assert message in err
