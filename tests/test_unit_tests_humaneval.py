"""HumanEval: every reference solution passes, and no broken one passes that a plain run of its tests rejects."""

import ast
import gzip
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from copgkit import Completion, Context, Prompt
from copgkit_unit_tests.sandbox import probe
from copgkit_unit_tests.source import UnitTests

DATA = Path(__file__).parents[2] / "shared/data/humaneval/HumanEval.jsonl.gz"
SECONDS = 3  # of processor time, so that a busy machine makes no wrong answers
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the HumanEval data is not beside the repository")
SWAPPED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.FloorDiv, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


def _rows():
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _scores(rows, programs):
    source = UnitTests(UnitTests.Options(profile=probe().profile, timeout=SECONDS), Context("unit-tests"))
    try:
        return source.score(
            [
                Completion(
                    Prompt(row["prompt"], facts={"test": row["test"], "entry_point": row["entry_point"]}), program
                )
                for row, program in zip(rows, programs, strict=True)
            ]
        )
    finally:
        source.close()


def _mutated(row, number):
    """The solution with one constant, operator or return changed; which kind and which one follow from the number."""
    tree = ast.parse(row["prompt"] + row["canonical_solution"])
    function = next(node for node in tree.body if getattr(node, "name", "") == row["entry_point"])
    body = [node for statement in function.body[1:] for node in ast.walk(statement)]
    constants = [node for node in body if isinstance(node, ast.Constant) and isinstance(node.value, int | str)]
    operators = [node for node in body if _operator_field(node)]
    returns = [node for node in body if isinstance(node, ast.Return) and node.value is not None]
    kinds = [kind for kind in (constants, operators, returns) if kind]
    kind = kinds[number % len(kinds)]
    _change(kind[number // 3 % len(kind)])
    return ast.unparse(ast.fix_missing_locations(tree))


def _operator_field(node):
    for field in ("op", "ops"):
        value = getattr(node, field, None)
        operator = value[0] if isinstance(value, list) and value else value
        if type(operator) in SWAPPED:
            return field
    return None


def _change(node):
    if isinstance(node, ast.Constant):
        node.value = node.value + "x" if isinstance(node.value, str) else int(node.value) + 1
    elif isinstance(node, ast.Return):
        node.value = ast.List(elts=[node.value], ctx=ast.Load())
    elif _operator_field(node) == "op":
        node.op = SWAPPED[type(node.op)]()
    else:
        node.ops[0] = SWAPPED[type(node.ops[0])]()


def _passes_plainly(row, program):
    """Whether program, tests and call of check() run to their end in one process, as HumanEval's own harness has it."""
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))\n"
    text = f"{limited}{program}\n{row['test']}\ncheck({row['entry_point']})\n"
    return subprocess.run([sys.executable, "-I", "-S", "-c", text], capture_output=True).returncode == 0


def _compare(step):
    rows = _rows()[::step]
    programs = [_mutated(row, number) for number, row in enumerate(rows)]
    with ThreadPoolExecutor(2) as threads:
        plainly = list(threads.map(_passes_plainly, rows, programs))
    ours = _scores(rows, programs)
    assert all(score.failure is None for score in ours)
    passing = [score.value == 1.0 for score in ours]
    assert [row["task_id"] for row, ok, plain in zip(rows, passing, plainly, strict=True) if ok and not plain] == []
    assert [row["task_id"] for row, ok, plain in zip(rows, passing, plainly, strict=True) if plain and not ok] == []
    assert plainly.count(False) > 0.8 * len(rows)  # else the mutations would change too little to say anything


def test_every_reference_solution_passes():
    rows = _rows()
    scores = _scores(rows, [row["canonical_solution"] for row in rows])
    assert len(rows) == 164
    assert {row["task_id"]: score for row, score in zip(rows, scores, strict=True) if score.value != 1.0} == {}


def test_of_some_broken_solutions_those_pass_that_pass_plainly():
    _compare(step=8)


@pytest.mark.slow
def test_of_all_broken_solutions_those_pass_that_pass_plainly():
    _compare(step=1)
