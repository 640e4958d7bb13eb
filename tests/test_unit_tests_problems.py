"""Before anything runs: which part of a completion is the program, which tests a prompt has, and what equals what."""

import math

import pytest

from copgkit import DataError, Prompt
from copgkit_unit_tests.comparison import same, same_output
from copgkit_unit_tests.extraction import MAX_CHARACTERS, program_of
from copgkit_unit_tests.problems import Calls, Checks, Programs, problem_of
from copgkit_unit_tests.sandbox import Opaque

HEADER = "from typing import List\n\n\ndef helper(x):\n    return x\n\n\n"
PROMPT = HEADER + 'def add(a: int, b: int) -> int:\n    """Adds."""\n'


def _source(completion, prompt="Write add.", wanted="add"):
    program = program_of(completion, prompt, wanted)
    assert program.fault == ""
    return program.source


def test_of_several_fences_the_last_that_defines_the_wanted_name_is_the_program():
    text = "First:\n```python\ndef add(a, b): return a\n```\nBetter:\n```py\ndef add(a, b): return a + b\n```\n"
    assert _source(text) == "def add(a, b): return a + b\n"
    assert _source(text + "Use:\n```python\nprint(add(1, 2))\n```\n") == "def add(a, b): return a + b\n"
    assert _source(text + "```java\nint add(int a, int b)\n```") == "def add(a, b): return a + b\n"


def test_without_the_wanted_name_a_tagged_fence_comes_before_an_untagged_one():
    text = "```python\nx = 1\n```\nprints\n```\n1\n```\n"
    assert _source(text) == "x = 1\n"
    assert _source("```\nx = 2\n```\n") == "x = 2\n"


def test_an_open_fence_reaches_to_the_end_and_a_longer_fence_holds_a_shorter_one():
    assert _source("Here:\n```python\ndef add(a, b):\n    return a") == "def add(a, b):\n    return a"
    assert _source("````python\ndef add(a): '''\n```\n'''\n````\n") == "def add(a): '''\n```\n'''\n"


def test_text_without_a_fence_is_the_program_as_it_is():
    assert _source("def add(a, b): return a + b") == "def add(a, b): return a + b"
    assert _source("I do not know.") == "I do not know."


def test_a_body_goes_on_where_the_prompt_ends():
    assert _source("    return a + b\n", PROMPT) == PROMPT + "    return a + b\n"
    assert _source("\n\n    return a + b\n\ndef add(x): pass\n", PROMPT).startswith(PROMPT)


def test_a_whole_function_replaces_the_prompts_and_keeps_its_imports_and_helpers():
    whole = "def add(a, b):\n    return helper(a) + b\n"
    assert _source(whole, PROMPT) == HEADER + whole
    assert _source(f"```python\n{whole}```", PROMPT) == HEADER + whole
    assert _source(whole, "Write a function add that adds.") == whole


@pytest.mark.parametrize(
    ("completion", "fault"),
    [
        ("", "no-code"),
        (" \n\t\n", "no-code"),
        ("```python\n```", "no-code"),
        ("def add(a, b): return a\0", "does-not-compile"),
        ("def add(a, b): return '\ud800'", "does-not-compile"),
        ("x = 1\n" * 2_000_000, "too-long"),
        ("```python\n" + "#" * (MAX_CHARACTERS + 1) + "\n```", "too-long"),
    ],
)
def test_what_can_hold_no_program_is_told_without_running_anything(completion, fault):
    assert program_of(completion, "", "add").fault == fault


def _problem(**facts):
    return problem_of(Prompt("Write it.", facts=facts, origin="tasks.jsonl:7"))


CHECK = "def check(candidate):\n    assert candidate(1) == 1\n"


def test_the_style_of_the_tests_is_read_from_the_facts():
    assert isinstance(_problem(test=CHECK, entry_point="f"), Checks)
    assert isinstance(_problem(test_list=["assert f(1) == 1"]), Checks)
    assert _problem(entry_point="f", inputs=[[1, 2]], outputs=[3]) == Calls("f", (([1, 2], 3),))
    assert _problem(inputs=["1\n"], outputs=["2\n"]) == Programs((("1\n", "2\n"),))


def test_every_name_that_asserts_want_gets_a_stand_in_and_setup_does_not():
    setup = "import math\ndef near(a, b): return abs(a - b) < 1e-9\nroot = Node(1)"
    problem = _problem(
        test_list=["assert near(area(2), math.pi * 4)", "assert depth(root) == 1"], test_setup_code=setup
    )
    assert problem.names == ("Node", "area", "depth")
    assert problem.wanted == "area"
    assert problem.asserts == 2


def test_a_check_may_use_helpers_that_the_prompt_defines():
    test = "def check(candidate):\n    assert candidate(1) == helper(1)\n"
    problem = problem_of(Prompt(PROMPT, facts={"test": test, "entry_point": "add"}))
    assert problem.source.startswith(HEADER)
    with pytest.raises(DataError, match="uses 'helper', which neither the test nor the prompt defines"):
        _problem(test=test, entry_point="add")


def test_challenge_tests_run_only_when_asked_for():
    facts = {"test_list": ["assert f(1) == 1"], "challenge_test_list": ["assert f(2) == 2"]}
    assert problem_of(Prompt("p", facts=facts)).asserts == 1
    assert problem_of(Prompt("p", facts=facts), challenge_tests=True).asserts == 2


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "the prompt has no tests; its facts are: none"),
        ({"label": 1}, "no tests; its facts are: label"),
        ({"test": "def check(candidate:\n", "entry_point": "f"}, r"test does not parse: .*\(line 1\)"),
        ({"test": CHECK + "\0", "entry_point": "f"}, "test does not parse"),
        ({"test": "(" * 5000, "entry_point": "f"}, "test does not parse"),
        ({"test": CHECK}, "entry_point is None, not the name of a function"),
        ({"test": CHECK, "entry_point": "f(x)"}, "not the name of a function"),
        ({"test": "assert f(1) == 1", "entry_point": "f"}, r"defines no function check\(candidate\)"),
        ({"test": "def check(candidate):\n    assert True\n", "entry_point": "f"}, "never calls its candidate"),
        ({"test": ["assert f(1)"], "entry_point": "f"}, "test is a list, not a text"),
        ({"test_list": []}, "test_list is empty"),
        ({"test_list": "assert f(1) == 1"}, "test_list is a str, not a list"),
        ({"test_list": ["assert f(1) = 1"]}, r"test_list\[0\] does not parse"),
        ({"test_list": ["assert 1 == 1"]}, "calls nothing that the candidate would define"),
        ({"test_list": ["assert isinstance(f(1), Point)"]}, "use 'Point' of the candidate as a class"),
        ({"test_list": ["assert f(1) == Point(1, 2)"]}, "use 'Point' of the candidate as a class"),
        ({"entry_point": "f", "inputs": [[1]], "outputs": []}, "there are 1 inputs and 0 outputs"),
        ({"entry_point": "f", "inputs": [], "outputs": []}, "there are 0 inputs"),
        ({"entry_point": "f", "inputs": [3], "outputs": [3]}, "each input is a list of arguments"),
        ({"inputs": [[1]], "outputs": ["1"]}, "without an entry_point"),
    ],
)
def test_tests_that_cannot_be_used_are_an_error_with_row_and_remedy(facts, words):
    with pytest.raises(DataError, match=rf"tasks\.jsonl:7: .*{words}.*'unit-tests' reads test and entry_point"):
        _problem(**facts)


SAME = [
    (1, 1), (1, 1.0), (0.5, 0.5), ("a", "a"), (None, None), (True, True), ([1, [2]], (1, [2])),
    ({"a": [1]}, {"a": [1]}), ({1, 2}, frozenset({2, 1})), (math.nan, math.nan), (math.inf, math.inf),
    (0.1 + 0.2, 0.3), (2.0, 2), ([], []),
    (1e300, 1e300 * (1 + 1e-12)), (1 + 2j, 1 + 2j), (b"a", b"a"), (10**400, 10**400),
]  # fmt: skip
DIFFERENT = [
    (1, True), (True, 1), (0, False), (0, None), (0.0, False), ("1", 1), ([1, 2], [1]), ([1], [1, 2]), ([], None),
    (1, 1.0000000001), (0.3, 0.3001), (math.inf, 1e308), (1e308, math.inf), (0.0, math.nan), (math.nan, 0.0),
    (-math.inf, math.inf), ({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), ({"a": 1}, {"a": 1, "b": 2}),
    ({1: 0}, {True: 0}), ({1}, {True}), ({1}, {1, 2}), ({1, 2}, [1, 2]), ("a", b"a"), ("ab", ["a", "b"]),
    (1, Opaque("int", 1)), ("", None),
    ([1], [Opaque("int")]), (None, Opaque("x")), (1.0, 10**400), ((), {}), (1, 1 + 0j + 1e-12j),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "given"), SAME)
def test_the_same_plain_data_is_the_same(expected, given):
    assert same(expected, given, 1e-9)


@pytest.mark.parametrize(("expected", "given"), DIFFERENT)
def test_other_types_other_lengths_and_what_is_not_plain_are_not_the_same(expected, given):
    assert not same(expected, given, 1e-9)


def test_whole_outputs_are_compared_but_for_white_space_at_the_ends_of_lines_and_of_all():
    assert same_output("1 2\n3\n", "1 2 \r\n3\n\n")
    assert same_output("", "\n")
    for given in ("1 2\n", "1 2\n3\n4\n", " 1 2\n3\n", "1 2\n\n3\n", "1  2\n3\n"):
        assert not same_output("1 2\n3\n", given)
