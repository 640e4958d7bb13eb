"""The contracts of `copgkit.testing`: every rule catches the plugin that breaks it, by name."""

import subprocess
import sys

import pytest
from broken_heavy import Heavy
from broken_plugins import BROKEN, Few, Length, Pairs, Words

from copgkit.testing import (
    RewardSourceContract,
    SamplerContract,
    check,
    check_evaluator,
    check_prompt_source,
    check_reward_source,
    check_sampler,
    rules_of,
)
from copgkit.testing.rules import DECISIVE, in_words

HEAVY = "its_module_imports_nothing_heavy"
BROKEN[RewardSourceContract][f"test_{HEAVY}"] = (Heavy, {HEAVY}, {})
ELSEWHERE = {  # rules that start another Python; those of one component do not depend on another's
    "test_its_module_imports_nothing_heavy",
    "test_the_fingerprint_is_the_same_in_another_process",
    "test_counting_imports_nothing_heavy",
}
CASES = [
    pytest.param(contract, rule, id=f"{contract.__name__}-{rule.removeprefix('test_')}")
    for contract, broken in BROKEN.items()
    for rule in broken
]


@pytest.mark.parametrize(("contract", "rule"), CASES)
def test_a_broken_plugin_is_caught_by_the_rule_that_it_breaks_and_by_no_other(contract, rule):
    cls, broken, told = BROKEN[contract][rule]
    case = type("Case", (contract,), {"component": cls, **told})
    tried = [name for name in rules_of(case) if name == rule or name not in ELSEWHERE]
    assert {finding.rule for finding in check(case, tried)} == set(map(in_words, broken))


def test_no_rule_is_without_a_broken_plugin():
    common = set(rules_of(RewardSourceContract)) & set(rules_of(SamplerContract))
    for contract, broken in BROKEN.items():
        own = set(rules_of(contract)) - (set() if contract is RewardSourceContract else common)
        assert own == set(broken)


def test_the_sound_plugins_that_the_broken_ones_start_from_break_no_rule():
    assert check_reward_source(Words, {"factor": 2.0}) == []
    assert check_sampler(Pairs) == []
    assert check_prompt_source(Few) == []
    assert check_evaluator(Length) == []


class TestWords(RewardSourceContract):
    """The form in which a plugin's author writes it: pytest collects the rules."""

    component = Words


def test_pytest_collects_one_test_for_each_rule(request):
    names = {item.name for item in request.session.items if item.parent.name == "TestWords"}
    if names:  # it is empty where this test was chosen by itself
        assert names == set(rules_of(RewardSourceContract))


def test_a_finding_names_rule_fault_and_remedy():
    cls, *_ = BROKEN[RewardSourceContract]["test_it_gives_one_score_for_each_completion"]
    finding = check_reward_source(cls)[0]
    assert str(finding) == "it gives one score for each completion: 14 scores for 15 completions. One each, in order."


def test_without_a_decisive_rule_no_other_is_tried():
    cls, _, told = BROKEN[RewardSourceContract][DECISIVE[0]]
    (finding,) = check_reward_source(cls, **told)
    assert "it needs the options path" in finding.fault


def test_a_source_that_hangs_is_said_to_and_the_check_goes_on():
    cls, *_ = BROKEN[RewardSourceContract][DECISIVE[1]]
    (finding,) = check_reward_source(cls, seconds=0.05)
    assert "no answer after 0.05 s" in finding.fault
    assert check_reward_source(Words, seconds=5) == []


def test_the_contracts_need_neither_pytest_nor_anything_heavy():
    code = "import sys, copgkit.testing; print([n for n in ('pytest', 'torch', 'numpy') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
