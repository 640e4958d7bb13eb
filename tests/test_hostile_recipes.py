"""Hostile recipes: refused in a moment, in little memory, with file and line; none reaches further than it may."""

import time
import tracemalloc

import pytest
from recipe_world import RECIPE, write_recipe

from copgkit import ModelError, RecipeError
from copgkit.recipe import load_recipe
from copgkit_reward_model.source import RewardModel

COMMIT = "0123456789abcdef" * 2 + "01234567"


def _bomb(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]")
    return "\n".join(lines)


HOSTILE = {
    "a bomb of aliases": (_bomb(12), "more than 20000 values"),
    "a bomb of merges": ("a: &a {x: 1}\n" + "\n".join(f"b{n}: {{<<: *a}}" for n in range(30_000)), "more than 20000"),
    "an alias of itself": ("a: &a [*a]", "contains itself"),
    "deep lists": ("a: " + "[" * 1100 + "]" * 1100, "nested too deeply"),
    "deep mappings": ("a: " + "{a: " * 1100 + "1" + "}" * 1100, "nested too deeply"),
    "deep by indentation": ("\n".join(" " * n + "a:" for n in range(1100)), "nested too deeply|larger than 1 MiB"),
    "a Python object": ("a: !!python/object/apply:os.system [id]", r"a tag \(!"),
    "a Python name": ("a: !!python/name:os.system", r"a tag \(!"),
    "binary": ("a: !!binary aGk=", r"a tag \(!"),
    "a key twice": (RECIPE + "version: 1\n", "given twice"),
    "an unknown key": (RECIPE + "polcy: 1\n", "polcy"),
    "a hydra target": (RECIPE + "_target_: os.system\n", "_target_"),
    "a control character": ("a: \x1b[2J", "control character 0x1b"),
    "a second document": (RECIPE + "---\na: 1\n", "second document"),
    "a huge number": ("version: 1e999\n", "larger than any number"),
    "a long number": ("version: " + "9" * 10_000 + "\n", "version"),
    "a class by its path": (RECIPE.replace("use: taste", "use: os.system"), "no reward source is called 'os.system'"),
    "writing above": (RECIPE + "output: ../../elsewhere\n", "output: .*neither below the recipe's folder"),
    "writing anywhere": (RECIPE + "output: /var/elsewhere\n", "output: .*neither below the recipe's folder"),
    "writing at home": (RECIPE + "output: ~/elsewhere\n", "output: .*neither below the recipe's folder"),
    "writing through a link": (RECIPE + "output: link/run\n", "output: .*neither below the recipe's folder"),
    "a store anywhere": (RECIPE + "scoring: {store: ../../x.sqlite}\n", "scoring.store: .*neither below"),
    "code of a branch": (
        RECIPE.replace("model: tiny,", "model: some/model, trust_remote_code: true, revision: main,"),
        "policy.trust_remote_code: .*name the commit",
    ),
    "code of nowhere": (
        RECIPE.replace("model: tiny,", "model: some/model, trust_remote_code: true,"),
        "policy.trust_remote_code: .*name the commit",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_recipe_is_refused_quickly_and_by_line(tmp_path, monkeypatch, kind):
    text, words = HOSTILE[kind]
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "recipes")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write_recipe(tmp_path / "recipes")
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(RecipeError, match=words):
        load_recipe(path)
    assert time.process_time() - began < 5  # .6 s at most, measured


def test_a_bomb_takes_no_more_memory_than_any_recipe_may(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(HOSTILE["a bomb of aliases"][0])
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError):
            load_recipe(path)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


def test_a_recipe_of_100_mb_is_not_even_read(tmp_path):
    path = tmp_path / "r.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    began = time.process_time()
    with pytest.raises(RecipeError, match="larger than 1 MiB"):
        load_recipe(path)
    assert time.process_time() - began < 1


def test_what_the_user_says_may_write_anywhere_and_what_is_below_may_in_any_case(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    path = write_recipe(tmp_path / "recipes")
    assert load_recipe(path, ["output=/var/elsewhere"]).recipe.output == "/var/elsewhere"
    path.write_text(RECIPE + "output: ../runs/x\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe(path).recipe.output == "../runs/x"


def test_references_to_the_environment_are_text(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    path = write_recipe(tmp_path, ("path: a.txt", 'path: "${SECRET}/$SECRET/{SECRET}"'))
    assert load_recipe(path).recipe.prompts.options["path"] == "${SECRET}/$SECRET/{SECRET}"


def test_code_of_a_reward_model_of_the_hub_needs_its_commit_too():
    given = {"model": "some/model", "trust_remote_code": True}
    for revision in (None, "main", COMMIT[:12]):
        with pytest.raises(ModelError, match="name the commit"):
            RewardModel(RewardModel.Options(**given, revision=revision))
    RewardModel(RewardModel.Options(**given, revision=COMMIT))


def test_code_of_the_hub_runs_by_its_commit_and_code_beside_the_recipe_as_it_is(tmp_path):
    pinned = f"model: some/model, trust_remote_code: true, revision: {COMMIT},"
    assert load_recipe(write_recipe(tmp_path, ("model: tiny,", pinned))).recipe.policy.trust_remote_code
    (tmp_path / "tiny").mkdir()
    beside = "model: tiny, trust_remote_code: true,"
    assert load_recipe(write_recipe(tmp_path, ("model: tiny,", beside))).recipe.policy.trust_remote_code
