"""The code world under `recipes/assets`: its tasks, its code right and wrong, and the policy shipped with it."""

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

ASSETS = Path(__file__).parent.parent / "recipes" / "assets"
sys.path.insert(0, str(ASSETS))

from code_world.family import KINDS, Family, Slip  # noqa: E402
from code_world.tasks import FAMILIES, Task, make_task, make_tasks  # noqa: E402


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    """Two tasks of each family with training parameters, two with parameters that are held out."""
    return [task for held_out in (False, True) for task in make_tasks(2 * len(FAMILIES), Random(3), held_out=held_out)]


def rows(split: str) -> list[dict]:
    lines = (ASSETS / "code-tasks" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def passes(code: str, asserts) -> bool:
    """Whether code of the world's own making passes; it ends by itself."""
    names: dict = {}
    try:
        exec(code, names)
        for line in asserts:
            exec(line, dict(names))
    except Exception:
        return False
    return True


def test_there_are_dozens_of_families_and_thousands_of_distinct_tasks():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 40
    assert sum(1 for family in FAMILIES for _ in family.combinations()) > 5000
    taken: set[str] = set()
    made = make_tasks(6000, Random(0), held_out=False, taken=taken, asserts=False)
    assert len({task.prompt for task in made}) == 6000
    assert len({task.solution for task in made}) > 4000


def test_many_solutions_take_several_lines():
    lines = [len(family.solution.strip().splitlines()) for family in FAMILIES]
    assert sum(count > 1 for count in lines) >= 20
    assert max(lines) >= 6


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_slip_edits_one_piece_of_the_solution_and_leaves_it_python(family: Family):
    words = {**next(family.combinations()), "a": "first", "b": "second"}
    for slip in family.slips:
        assert slip.kind in KINDS
        assert family.solution.count(slip.old) == 1, slip
        assert ast.dump(ast.parse(family.code("f", words, slip))) != ast.dump(ast.parse(family.code("f", words)))


def test_every_kind_of_slip_is_there():
    assert {slip.kind for family in FAMILIES for slip in family.slips} == set(KINDS)


def test_a_solution_passes_both_lists_of_asserts(tasks: list[Task]):
    for task in tasks:
        assert min(len(task.tests), len(task.hidden_tests)) >= 3
        assert passes(task.solution, task.tests + task.hidden_tests), task


def test_both_lists_of_asserts_catch_every_slip(tasks: list[Task]):
    for task in tasks:
        for slip, code in task.wrong.items():
            assert not passes(code, task.tests), (slip, task)
            assert not passes(code, task.hidden_tests), (slip, task)


def test_hidden_asserts_are_mostly_other_ones(tasks: list[Task]):
    shared = sum(line in task.tests for task in tasks for line in task.hidden_tests)
    assert shared < 0.1 * sum(len(task.hidden_tests) for task in tasks)


def test_every_family_holds_out_parameters_that_no_training_task_has():
    for family in FAMILIES:
        trained, held_out = (
            {str(choice) for choice in family.combinations() if family.is_held_out(choice) == which}
            for which in (False, True)
        )
        assert trained
        assert held_out
        assert not trained & held_out


def test_a_seed_decides_the_tasks():
    first, again, other = (make_tasks(70, Random(seed), held_out=False) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_a_family_whose_slip_no_input_shows_is_refused_by_name():
    blind = replace(FAMILIES[0], name="blind", slips=(Slip("off-by-one", "+ $m", "+ $m + 0"),))
    with pytest.raises(ValueError, match="'blind'"):
        make_task(blind, next(blind.combinations()), Random(0))


def test_the_shipped_tasks_are_distinct_and_their_answers_right():
    train, validation = rows("train"), rows("validation")
    assert len(validation) >= 200
    assert len({row["prompt"] for row in train + validation}) == len(train) + len(validation)
    assert {row["facts"]["family"] for row in validation} == {family.name for family in FAMILIES}
    for row in train + validation:
        facts = row["facts"]
        assert len(facts["test_list"]) >= 3
        assert f"{facts['entry_point']}(" in row["prompt"]
        assert passes(row["answer"], facts["test_list"] + facts["hidden_test_list"])


def test_the_shipped_tasks_are_those_that_the_build_writes(tmp_path):
    build_code = pytest.importorskip("build_code")
    build_code.build_tasks(tmp_path, seed=0, scale=1.0)
    for name in ("train.jsonl", "validation.jsonl", "README.md"):
        assert (tmp_path / "code-tasks" / name).read_bytes() == (ASSETS / "code-tasks" / name).read_bytes()


def test_no_answer_of_the_validation_tasks_stands_in_the_training_tasks():
    def told(row: dict) -> tuple[str, str]:
        return row["facts"]["family"], row["answer"]

    assert not {told(row) for row in rows("train")} & {told(row) for row in rows("validation")}


def test_the_tokenizer_splits_prompt_and_code_alike_apart_and_together():
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(ASSETS / "code-policy")
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    for row in rows("validation"):
        prompt, code = row["prompt"], f"{row['answer']}{tokenizer.eos_token}"
        apart = tokenizer(prompt)["input_ids"] + tokenizer(code, add_special_tokens=False)["input_ids"]
        assert tokenizer(prompt + code)["input_ids"] == apart
        assert (apart[0], apart[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert tokenizer.decode(apart, skip_special_tokens=True) == prompt + row["answer"]


def test_the_shipped_policy_knows_code_from_shuffled_code():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(ASSETS / "code-policy")
    model = transformers.AutoModelForCausalLM.from_pretrained(ASSETS / "code-policy").float().eval()
    row = rows("validation")[0]
    words = row["answer"].split(" ")
    losses = []
    for text in (row["answer"], " ".join(Random(0).sample(words, len(words)))):
        ids = tokenizer(row["prompt"] + text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=ids).loss.item())
    assert losses[0] < losses[1]


def test_the_unit_tests_reward_passes_solutions_and_fails_slips():
    unit_tests = pytest.importorskip("copgkit_unit_tests")
    from copgkit import Completion, Prompt

    judge = unit_tests.UnitTests(unit_tests.UnitTests.Options(profile="weak"))
    tasks = make_tasks(len(FAMILIES), Random(9), held_out=True)[:12]
    pairs = [
        (Completion(Prompt(task.prompt, facts=task.row["facts"]), code), code == task.solution)
        for task in tasks
        for code in (task.solution, *task.wrong.values())
    ]
    try:
        scores = judge.score([completion for completion, _ in pairs])
    finally:
        judge.close()
    assert [score.value for score in scores] == [float(right) for _, right in pairs]
