"""Verdicts: right answers are right in every style of tests, wrong ones are wrong, and the rest is told apart."""

import json
from pathlib import Path

import pytest

import copgkit
from copgkit import Completion, Context, DataError, PluginError, Prompt
from copgkit_unit_tests.sandbox import LayerState, Probe, SandboxGone, probe
from copgkit_unit_tests.source import UnitTests

OPTIONS = {"profile": probe().profile, "workers": 2, "timeout": 2.0}


@pytest.fixture(scope="module")
def score():
    """score(facts, program, ..., **options) -> scores, in the strongest profile there is."""
    sources = {}

    def run(facts, *programs, prompt="Write f.", **options):
        key = json.dumps(options, sort_keys=True)
        if key not in sources:
            sources[key] = UnitTests(UnitTests.Options(**OPTIONS | options), Context("unit-tests"))
        asked = Prompt(prompt, facts=facts, origin="tasks.jsonl:3")
        return sources[key].score([Completion(asked, program) for program in programs])

    yield run
    for source in sources.values():
        source.close()


def _values(scores):
    return [score.value for score in scores]


DOUBLE = {"entry_point": "f", "inputs": [[1], [5]], "outputs": [2, 10]}
DOUBLE_ASSERTS = {"test_list": ["assert f(1) == 2", "assert f(5) == 10", "assert f('a') == 'aa'"]}
DOUBLE_CHECK = {
    "entry_point": "f",
    "test": "def check(g):\n    assert g(1) == 2\n    for n in (5, 6):\n        assert g(n) == 2 * n",
}
DOUBLE_PROGRAM = {"inputs": ["1\n", "5\n"], "outputs": ["2\n", "10\n"]}
RIGHT, WRONG, HALF = (
    "def f(x): return " + body for body in ("x + x", "x * x", "{1: 2}.get(x, x + x if x == 'a' else 0)")
)
LINES = ("print(2 * int(input()))", "print(int(input()) ** 2)", "print({1: 2}.get(int(input()), 0))")


@pytest.mark.parametrize("facts", [DOUBLE, DOUBLE_ASSERTS, DOUBLE_CHECK])
def test_right_is_one_and_wrong_is_zero_in_order(score, facts):
    assert _values(score(facts, RIGHT, WRONG, HALF, RIGHT, WRONG)) == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_whole_programs_are_judged_by_their_whole_output(score):
    right, wrong, half = LINES
    prints_more = "n = int(input())\nprint(2 * n)\nprint(2 * n)"
    first_line_only = {"inputs": ["x\n"], "outputs": ["1\n2\n"]}
    assert _values(score(DOUBLE_PROGRAM, right, wrong, half, prints_more)) == [1.0, 0.0, 0.0, 0.0]
    assert _values(score(first_line_only, "print(1)", "print(1)\nprint(2)\n")) == [0.0, 1.0]


def test_the_share_counts_cases_and_asserts(score):
    share = {"value": "share-passed"}
    assert _values(score(DOUBLE, RIGHT, HALF, WRONG, **share)) == [1.0, 0.5, 0.0]
    assert _values(score(DOUBLE_ASSERTS, RIGHT, HALF, **share)) == [1.0, pytest.approx(2 / 3)]
    assert _values(score(DOUBLE_CHECK, RIGHT, HALF, WRONG, **share)) == [1.0, 0.5, 0.0]
    assert _values(score(DOUBLE_PROGRAM, LINES[2], **share)) == [0.5]
    raises_at_five = "def f(x): return {1: 2, 'a': 'aa'}[x]"
    assert _values(score(DOUBLE_ASSERTS, raises_at_five, **share)) == [pytest.approx(2 / 3)]


def test_the_table_says_what_each_stage_is_worth(score):
    table = {"value": "table", "rejected": -1.0}
    programs = (RIGHT, WRONG, "def f(x): return x.size", "def f(x) return x", "def g(x): return 2 * x")
    assert _values(score(DOUBLE_ASSERTS, *programs, **table)) == [1.0, 0.3, 0.1, -1.0, 0.1]
    assert _values(score(DOUBLE, *programs, **table)) == [1.0, 0.3, 0.1, -1.0, 0.1]
    assert _values(score(DOUBLE_PROGRAM, "print(1)", "print(1", "1 / 0", **table)) == [0.3, -1.0, 0.1]


REJECTED = {
    "": "no-code",
    "def f(x): return (": "does-not-compile",
    "def f(x): return 1\0": "does-not-compile",
    "def f(x):\n    while True: pass": "timeout",
    "import os\ndef f(x): os._exit(0)": "crash",
    "x = 1\n" * 100_000: "too-long",
}


@pytest.mark.parametrize("facts", [DOUBLE, DOUBLE_ASSERTS])
def test_a_program_that_fails_by_its_own_fault_is_rejected_with_the_reason(score, facts):
    scores = score(facts, *REJECTED, rejected=-0.5, timeout=0.5)
    assert _values(scores) == [-0.5] * len(REJECTED)
    for reason, one in zip(REJECTED.values(), scores, strict=True):
        assert one.notes[reason] == 1


RIGHT_ANSWERS = dict(
    part.split("\n", 1)
    for part in Path(__file__).with_name("right_answers.txt").read_text().removeprefix("=== ").split("\n=== ")
)


@pytest.mark.parametrize("facts", [DOUBLE, DOUBLE_ASSERTS])
def test_right_answers_are_right(score, facts):
    scores = score(facts, *RIGHT_ANSWERS.values())
    assert {name: one for name, one in zip(RIGHT_ANSWERS, scores, strict=True) if one.value != 1.0} == {}


def test_whole_programs_that_are_right_are_right(score):
    programs = (
        "import sys\nfor line in sys.stdin: print(2 * int(line))",
        "def main():\n    print(2 * int(input()))\nif __name__ == '__main__':\n    main()",
        "import sys\nn = int(sys.stdin.read())\nsys.stdout.write(f'{2 * n}')\nsys.exit(0)",
        "print(int(input()) * 2, end='  \\n\\n')",
        "import threading\nn = int(input())\nthreading.Thread(target=lambda: print(2 * n)).start()",
    )
    assert _values(score(DOUBLE_PROGRAM, *programs)) == [1.0] * len(programs)


def test_tests_see_changed_arguments_exceptions_and_standard_types(score):
    facts = {
        "test_list": [
            "items = [3, 1, 2]\nassert f(items) is None\nassert items == [1, 2, 3]",
            "try:\n    f([])\nexcept ValueError as error:\n    assert 'empty' in str(error)\nelse:\n    assert False",
            "rows = [[2], [1]]\nf(rows)\nassert rows == [[1], [2]]",
        ]
    }
    sorts = "def f(items):\n    if not items: raise ValueError('empty')\n    items.sort()"
    wrong_error = "def f(items):\n    if not items: raise KeyError('empty')\n    items.sort()"
    assert _values(score(facts, sorts, wrong_error)) == [1.0, 0.0]


def test_counters_and_named_tuples_equal_the_plain_data_they_are(score):
    facts = {"test_list": ["assert f('aab') == {'a': 2, 'b': 1}", "assert g() == (1, 2)"]}
    program = (
        "import collections\ndef f(x): return collections.Counter(x)\n"
        "def g(): return collections.namedtuple('P', 'a b')(1, 2)"
    )
    assert _values(score(facts, program)) == [1.0]


def test_objects_of_the_candidate_can_be_handed_back_to_it(score):
    facts = {"test_list": ["assert total([Pair(1, 2), Pair(3, 4)]) == 10"]}
    program = "class Pair:\n    def __init__(self, *ab): self.ab = ab\ndef total(ps): return sum(sum(p.ab) for p in ps)"
    assert _values(score(facts, program)) == [1.0]


def test_what_a_candidate_returns_can_be_used_where_it_is_not_plain(score):
    facts = {
        "test_list": [
            "assert list(count(3)) == [0, 1, 2]",
            "assert next(count(3)) == 0 and 2 in count(3) and 5 not in count(3)",
            "assert adder(3)(4) == 7",
            "assert find('a1', r'[0-9]')\nassert not find('a', r'[0-9]')",
            "assert sorted(word for word in words('b a')) == ['a', 'b']",
            "assert str(half(3)) == '3/2'",
            "assert len(letters('abc')) == 3 and 'b' in letters('abc') and sorted(letters('cab')) == ['a', 'b', 'c']",
        ]
    }
    program = (
        "import re\nfrom fractions import Fraction\n"
        "def count(n):\n    for i in range(n): yield i\n"
        "def adder(a): return lambda b: a + b\n"
        "def find(text, pattern): return re.search(pattern, text)\n"
        "def words(text): return map(str, text.split())\n"
        "def half(n): return Fraction(n, 2)\n"
        "def letters(text): return dict.fromkeys(text).keys()\n"
    )
    assert _values(score(facts, program, program.replace("yield i", "yield i + 1"))) == [1.0, 0.0]


def test_tests_may_make_and_change_objects_of_the_candidates_classes(score):
    facts = {
        "test_setup_code": "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)",
        "test_list": [
            "assert height(root) == 3",
            "s = Stack()\ns.append(5)\ns.append(6)\nassert s.pop() == 6 and len(s) == 1 and s[0] == 5 and 5 in s",
            "assert (Vector(1, 2) + Vector(3, 4)).xy == (4, 6)",
            "with Timer() as t:\n    assert t.running is True\nassert t.running is False",
        ],
    }
    program = (
        "class Node:\n    def __init__(self, value): self.value, self.left, self.right = value, None, None\n"
        "def height(node): return 0 if node is None else 1 + max(height(node.left), height(node.right))\n"
        "class Stack(list): pass\n"
        "class Vector:\n    def __init__(self, x, y): self.xy = (x, y)\n"
        "    def __add__(self, o): return Vector(self.xy[0] + o.xy[0], self.xy[1] + o.xy[1])\n"
        "class Timer:\n    running = False\n    def __enter__(self): self.running = True; return self\n"
        "    def __exit__(self, *_): self.running = False; return True\n"
    )
    stack = (
        "class Stack:\n    def __init__(self): self.items = []\n    def append(self, x): self.items.append(x)\n"
        "    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)\n"
        "    def __getitem__(self, i): return self.items[i]\n    def __contains__(self, x): return x in self.items\n"
    )
    assert _values(score(facts, program.replace("class Stack(list): pass\n", stack))) == [1.0]


LEAKS = {
    "assert abs(f(1) - 2.5) < 0.1": "def __sub__(self, other): return 0\n    __abs__ = lambda self: 0",
    "assert f(1).startswith('yes')": "def startswith(self, text): return True",
    "assert 7 in f(1)": "def __contains__(self, other): return True",
    "assert f(1)['seven'] == 7": "def __getitem__(self, key): return len(key) + 2",
    "assert f(1) == 7": "def __eq__(self, other): return True",
    "assert not f(1) != 7": "def __ne__(self, other): return False",
    "assert f(1) >= 7": "def __ge__(self, other): return True",
    "assert 7 - f(1) == 0": "def __rsub__(self, other): return 0",
    "assert f(1) + 'x' == 'yx'": "def __add__(self, other): return 'y' + other",
    "with f(1) as x:\n    assert x == 7": "__enter__ = lambda self: self\n    def __exit__(self, *_): return True",
    "assert Solver().solve(1) - 7 == 0": "def __sub__(self, other): return 0",
    "assert sum(f(1)) == 7": "def __iter__(self): return iter([self])\n    def __radd__(self, other): return 7",
    "assert isinstance(f(1), int)": "__class__ = int",
    "assert hash(f(1)) == hash(7)": "def __hash__(self): return 7",
    "assert f'{f(1):>3}' == '  7'": "def __format__(self, form): return '  7'",
    "assert math.pow(f(1), 1) == 7": "def __float__(self): return 7.0",
    "assert [1, 2, 3][f(1)] == 2": "def __index__(self): return 1",
    "x = f(1)\nassert len(x) == 2 and not list(x)": "__len__ = lambda self: 2\n    __iter__ = lambda self: iter(())",
    "x = f(1)\nassert sum(x) == 3 and sum(x) == 4": "n = 2\n    def __iter__(self): self.n += 1; return iter([self.n])",
    "x = f(1)\nassert str(x) == 'a' and str(x) == 'b'": "n = 96\n    def __str__(s): s.n += 1; return chr(s.n)",
    "assert not f(1)": "__bool__ = lambda self: False",
    "assert f(1) is True": "__bool__ = lambda self: True",
}


@pytest.mark.parametrize("test", LEAKS)
def test_an_object_that_would_learn_or_decide_what_is_asked_of_it_earns_nothing(score, test):
    program = (
        f"class Liar:\n    {LEAKS[test]}\ndef f(x): return Liar()\n"
        "class Solver:\n    def solve(self, x): return Liar()\n"
    )
    (one,) = score({"test_list": [test], "test_setup_code": "import math"}, program)
    assert one.value == 0.0


def test_a_candidate_cannot_end_the_loops_of_the_tests(score):
    tests = ["assert all(map(f, [1, 2]))", "assert list(filter(f, [1])) == []", "assert not any(map(f, [1]))"]
    facts = {"test_list": tests}
    for name in ("StopIteration", "StopAsyncIteration", "GeneratorExit"):
        assert _values(score(facts, f"def f(x): raise {name}", value="share-passed")) == [0.0]


def test_tests_that_raise_before_they_call_anything_are_no_zero(score):
    broken = {"test_list": ["import no_such_module\nassert f(1) == 2"]}
    (one,) = score(broken, RIGHT)
    assert one.value is None
    assert "the tests raise ModuleNotFoundError before they call the candidate" in one.failure


def test_tests_that_hand_over_a_function_are_no_zero(score):
    (one,) = score({"test_list": ["assert f(lambda x: x) == 1"]}, RIGHT)
    assert one.value is None
    assert "the tests give f() a function or an object of their own" in one.failure


def test_an_answer_that_breaks_the_tests_is_wrong_and_no_failure(score):
    loops = {"test_list": ["n = f(1)\nwhile n > 2: pass\nassert n == 2"]}
    exits = {"test_list": ["import os\nif f(1) != 2: os._exit(0)"]}
    assert _values(score(loops, "def f(x): return 10", RIGHT, timeout=0.5)) == [0.0, 1.0]
    assert _values(score(exits, WRONG)) == [0.0]


def test_a_problem_without_tests_is_an_error_before_anything_runs(score):
    with pytest.raises(DataError, match=r"tasks\.jsonl:3: the prompt has no tests"):
        score({}, RIGHT)


def test_without_the_isolation_asked_for_nothing_starts(monkeypatch):
    layers = [
        LayerState("limits", True),
        *(LayerState(name, False, "no kernel", "Get one.") for name in ("landlock", "filter")),
    ]
    monkeypatch.setattr("copgkit_unit_tests.source.probe", lambda: Probe(tuple(layers)))
    with pytest.raises(
        PluginError, match=r"'unit-tests': sandbox profile 'container': the layer 'landlock'.*Get one\."
    ):
        UnitTests(UnitTests.Options(), Context("unit-tests"))


def test_a_sandbox_that_fails_is_tried_once_more_and_then_a_failure(score, monkeypatch):
    source = UnitTests(UnitTests.Options(**OPTIONS), Context("unit-tests"))
    tried = []

    def broken(self, role):
        tried.append(role)
        raise SandboxGone("infrastructure", "no child could be forked")

    monkeypatch.setattr("copgkit_unit_tests.sandbox.Pool.open", broken)
    (one,) = source.score([Completion(Prompt("p", facts=DOUBLE), RIGHT)])
    source.close()
    assert one.value is None
    assert one.failure == "the sandbox did not work: no child could be forked"
    assert len(tried) == 2


def test_the_fingerprint_follows_what_a_score_depends_on():
    def fingerprint(**options):
        return UnitTests(UnitTests.Options(**OPTIONS | options), Context("unit-tests")).fingerprint()

    assert fingerprint() == fingerprint(workers=1)
    assert len({fingerprint(), fingerprint(value="table"), fingerprint(timeout=1.0), fingerprint(rejected=-1.0)}) == 4


def test_the_run_records_the_sandbox_it_found(tmp_path, tiny_policy_folder, write_jsonl):
    facts = {"entry_point": "f", "inputs": [["x"]], "outputs": ["x"]}
    write_jsonl("tasks.jsonl", [{"prompt": "the cat :", "facts": facts, "chosen": "f = str", "rejected": "f = len"}])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"""
policy: {{model: {tiny_policy_folder}, max_prompt_tokens: 16, max_completion_tokens: 8}}
prompts: {{use: jsonl, options: {{path: tasks.jsonl}}}}
sampler: {{use: recorded}}
rewards: [{{use: unit-tests, options: {{profile: {probe().profile}, workers: 1}}}}]
objective: {{use: copg, beta: 0.1}}
train: {{epochs: 1, groups_per_step: 1}}
""")
    result = copgkit.run(recipe, output=tmp_path / "out")
    found = json.loads((result.folder / "run.json").read_text())["found"]
    assert found["rewards[0]"]["sandbox"] == probe().profile
