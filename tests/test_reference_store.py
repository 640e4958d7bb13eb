"""The reference's log-probabilities are computed once: kept by content, bit for bit, and training does not see it."""

from __future__ import annotations

import json
import random
import struct

import numpy
import pytest
import torch
from recipe_world import write_run

import copgkit
from copgkit import Completion, GenerationSettings, Group, Prompt, ScoredGroup
from copgkit.engine import reference as engine_reference
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.reference import Reference
from copgkit.recipe import load_recipe
from copgkit.reference_shelf import reference_identity
from copgkit.store import LogProbShelf, ScoreStore, SourceIdentity, default_store_path, exported

MODEL = SourceIdentity("copgkit", "reference:tiny", "1.0", "weights")
POSTS = [
    {"prompt": f"the {animal} sat on the {place} :" + " and then it ran" * more}
    for animal in ("cat", "dog")
    for more, place in enumerate(("mat", "hill", "cat"))
]


@pytest.fixture
def store(tmp_path):
    store = ScoreStore(tmp_path / "scores.sqlite", pytest.fail)
    yield store
    store.close()


def letters(prompt):
    """A prompt's ids: those of its letters."""
    return [ord(letter) for letter in prompt.text]


def shelf_of(store, model=MODEL, computed_on="here"):
    return LogProbShelf(store, model, computed_on, letters)


def group_of(prompt, *ids):
    asked = Prompt(prompt)
    return Group(asked, tuple(Completion(asked, "", token_ids=each) for each in ids))


# The shelf ------------------------------------------------------------------------------------------------------------


def test_what_is_kept_comes_back_bit_for_bit(store):
    numbers = (-1 / 3, -0.0, 5e-324, -1e300, float(torch.tensor(-0.1)))
    group, other = group_of("p", *[(n,) for n in range(5)]), group_of("p", (7,), (8,))
    shelf = shelf_of(store)
    shelf.keep([group, other], [numbers, (-1.0, -2.0)])
    store.close()
    found, missing, second = shelf.find([group, group_of("q", (7,), (8,)), other])
    assert struct.pack("<5d", *found) == struct.pack("<5d", *numbers)
    assert missing is None
    assert second == (-1.0, -2.0)


def test_a_key_holds_model_machine_prompt_and_completions_in_their_order(store):
    groups = [
        group_of("ab", (1, 2), (3,)), group_of("ab", (1,), (2, 3)), group_of("ab", (3,), (1, 2)),
        group_of("ab", (1, 2)), group_of("ab", (1, 2), (3,), (3,)), group_of("a", (98, 1, 2), (3,)),
        group_of("ba", (1, 2), (3,)),
    ]  # fmt: skip
    other_model = SourceIdentity("copgkit", "reference:tiny", "1.0", "other weights")
    shelves = [shelf_of(store), shelf_of(store, other_model), shelf_of(store, computed_on="there")]
    keys = {shelf._key(group) for shelf in shelves for group in groups}
    assert len(keys) == len(shelves) * len(groups)


def test_keys_do_not_change_from_one_release_to_the_next(store):
    key = shelf_of(store)._key(group_of("ab", (1, 2), (3,)))
    assert key.hex() == "f13fc5dd9e99998ff15374b26b49e36cedc75cfc2004d6759eb1b0b331c669bb"


@pytest.mark.parametrize("number", [float("-inf"), float("nan")])
def test_what_is_not_finite_or_has_no_ids_is_not_kept(store, number):
    shelf, sound, odd = shelf_of(store), group_of("p", (1,), (2,)), group_of("p", (1,), (3,))
    plain = Group(odd.prompt, (Completion(odd.prompt, "text"), odd.completions[0]))
    shelf.keep([sound, odd, plain], [(-1.0, -2.0), (-1.0, number), (-1.0, -2.0)])
    assert shelf.find([sound, odd, plain]) == [(-1.0, -2.0), None, None]


def test_a_damaged_row_is_a_miss(store):
    shelf, group = shelf_of(store), group_of("p", (1,), (2,))
    shelf.keep([group], [(-1.0, -2.0)])
    with store.file._open() as connection:
        connection.execute("UPDATE scores SET row = cast(substr(row, 1, length(row) - 1) || x'00' AS BLOB)")
    assert shelf.find([group]) == [None]


# The reference --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy(tiny_policy_folder):
    return CausalLMPolicy.load(str(tiny_policy_folder), max_prompt_tokens=32, max_completion_tokens=8)


@pytest.fixture(scope="module")
def scored(policy):
    prompts = [Prompt(post["prompt"]) for post in POSTS]
    rows = policy.generate(prompts, 4, GenerationSettings(seed=3))
    groups = [Group(prompt, tuple(row)) for prompt, row in zip(prompts, rows, strict=True)]
    return [ScoredGroup(group, {}, (0.0, 1.0, 2.0, 3.0)) for group in groups]


def numbers_of(examples):
    return [example.ref_log_probs for example in examples]


@pytest.mark.parametrize("bf16", [False, True])
def test_the_numbers_of_a_group_do_not_depend_on_the_groups_beside_it(policy, scored, bf16):
    def fresh():
        return Reference(policy, autocast=lambda: torch.autocast("cpu", torch.bfloat16, enabled=bf16))

    together = numbers_of(fresh().examples(scored))
    assert numbers_of(fresh().examples(scored[::-1])) == together[::-1]
    assert [numbers_of(fresh().examples([one]))[0] for one in scored] == together


def test_a_partly_filled_shelf_gives_the_same_numbers_as_none(policy, scored, store):
    without = numbers_of(Reference(policy).examples(scored))
    for known in (0, 1, 4, 6):
        shelf = LogProbShelf(store, MODEL, f"{known} known", policy.codec.prompt_ids)
        Reference(policy, shelf=shelf).examples(scored[:known])
        reference = Reference(policy, shelf=shelf)
        assert numbers_of(reference.examples(scored)) == without
        assert (reference.spared, reference.computed) == (4 * known, 4 * (6 - known))
        misses = reference.take_figures()["reference/log-probs/store-misses"]
        assert misses == 4 * (6 - known)
        assert reference.take_figures() == {}


def test_computing_leaves_every_random_state_as_it_was(policy, scored, store):
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    shelf = LogProbShelf(store, MODEL, "here", policy.codec.prompt_ids)
    for _ in range(2):
        Reference(policy, shelf=shelf).examples(scored)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert numpy.random.get_state()[1].tolist() == before[2]


def test_what_was_computed_before_a_kill_is_not_computed_again(policy, scored, store, monkeypatch):
    monkeypatch.setattr(engine_reference, "_GROUPS_PER_WRITE", 2)
    log_probs_of, asked = engine_reference.log_probs_of, []

    def dying(model, group):
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append(group)
        return log_probs_of(model, group)

    monkeypatch.setattr(engine_reference, "log_probs_of", dying)
    shelf = LogProbShelf(store, MODEL, "here", policy.codec.prompt_ids)
    with pytest.raises(KeyboardInterrupt):
        Reference(policy, shelf=shelf).examples(scored)
    monkeypatch.setattr(engine_reference, "log_probs_of", log_probs_of)
    again = Reference(policy, shelf=shelf)
    again.examples(scored)
    assert (again.spared, again.computed) == (4 * 4, 4 * 2)


def test_a_reference_that_has_moved_neither_reads_nor_writes(policy, scored, store):
    shelf = LogProbShelf(store, MODEL, "here", policy.codec.prompt_ids)
    reference = Reference(policy.frozen_copy(), every=2, shelf=shelf)
    reference.examples(scored[:2])
    reference.follow(policy, 1)
    reference.examples(scored[:3])
    assert len(list(exported(store))) == 3
    other = policy.frozen_copy()
    other.model.get_input_embeddings().weight.data *= 1.1
    start = reference.examples(scored)
    reference.follow(other, 2)
    moved = reference.now(start)
    assert len(list(exported(store))) == len(scored)
    assert reference.spared == 0
    assert all(one != two for one, two in zip(numbers_of(moved), numbers_of(start), strict=True))
    assert reference.take_figures() == {}


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path, tiny_policy_folder):
    """Writes a recipe, changed as the test asks, and gives its path."""

    def write(**sections):
        files = {"reward.py": "def score(completion):\n    return completion.count('a')\n"}
        prompts = {"use": "jsonl", "options": {"path": "posts.jsonl"}}
        usual = {
            "rewards": [{"use": "python", "options": {"file": "reward.py"}}],
            "train": {"epochs": 2, "groups_per_step": 3, "learning_rate": 0.003},
            "evaluate": {"prompts": prompts, "with": [{"use": "kl"}]},
        }
        return write_run(tmp_path, tiny_policy_folder, POSTS, files, **usual | sections)

    return write


def outcome(result):
    """Final weights, groups and metrics."""
    groups = sorted((file.name, file.read_bytes()) for file in (result.folder / "groups").iterdir())
    return (result.folder / "model/model.safetensors").read_bytes(), groups, result.rows


def counts(result):
    """Completions from the store, and computed."""
    names = ("reference/log-probs/store-hits", "reference/log-probs/store-misses")
    return tuple(sum(row.get(name, 0) for row in result.timings) for name in names)


def recorded(path, folder):
    """What makes a recipe train on the groups that it would draw, from a file."""
    drawn = copgkit.run(path, set={"scoring.store": None}, output=folder / "drawn")
    groups = drawn.folder / "groups/round-0000.jsonl"
    return {"prompts.options.path": str(groups), "sampler.use": "recorded", "sampler.options": {}}


def test_what_the_reference_writes_itself_takes_no_pass_of_it_with_and_without_the_store(recipe, tmp_path):
    path = recipe()
    without = copgkit.run(path, set={"scoring.store": None}, output=tmp_path / "without")
    again = copgkit.run(path, set=recorded(path, tmp_path), output=tmp_path / "again")  # fills the store by passes
    full = copgkit.run(path, output=tmp_path / "full")
    assert [counts(result) for result in (without, again, full)] == [(0, 0), (0, 24), (0, 0)]
    assert outcome(without) == outcome(full)
    assert json.loads((full.folder / "run.json").read_text())["reference"]["written"] == 24


@pytest.mark.parametrize(("precision", "reference"), [("float32", {}), ("bf16", {"refresh_every": 3})])
def test_training_is_the_same_bit_for_bit_with_any_part_of_the_store_filled(recipe, tmp_path, precision, reference):
    train = {"epochs": 2, "groups_per_step": 3, "learning_rate": 0.003, "precision": precision}
    path = recipe(train=train, reference=reference)
    if precision == "float32":  # else the reference draws, and reads what it drew
        groups = recorded(path, tmp_path)
        path = recipe(
            train=train,
            reference=reference,
            prompts={"use": "jsonl", "options": {"path": groups["prompts.options.path"]}},
            sampler={"use": "recorded"},
        )
    without = copgkit.run(path, set={"scoring.store": None}, output=tmp_path / "without")
    assert counts(without) == (0, 24)  # what a run keeps for itself is gone when it is finished
    assert not (without.folder / "scores.sqlite").exists()
    assert not default_store_path().exists()
    part = copgkit.run(path, set={"prompts.options.limit": 2}, output=tmp_path / "part")
    partly = copgkit.run(path, output=tmp_path / "partly")
    full = copgkit.run(path, output=tmp_path / "full")
    assert [counts(result) for result in (part, partly, full)] == [(0, 8), (8, 16), (24, 0)]
    assert outcome(without) == outcome(partly) == outcome(full)
    assert json.loads((full.folder / "run.json").read_text())["reference"]["from-store"] == 24


def test_fresh_rounds_are_the_same_with_and_without_the_store(recipe, tmp_path):
    path = recipe(sampler={"use": "policy"}, train={"steps": 3, "groups_per_step": 2, "learning_rate": 0.003})
    without = copgkit.run(path, set={"scoring.store": None}, output=tmp_path / "without")
    first = copgkit.run(path, output=tmp_path / "first")
    again = copgkit.run(path, output=tmp_path / "again")
    assert [counts(result) for result in (without, first, again)] == [(0, 24), (0, 24), (24, 0)]
    assert outcome(without) == outcome(first) == outcome(again)


SPARED = {
    "beta": {"objective.beta": 0.1},
    "the objective": {"objective.use": "ipo"},
    "a weight": {"rewards[0].weight": 3.0},
    "epochs": {"train.epochs": 1},
    "limits that nothing exceeds": {"policy.max_prompt_tokens": 40},
}
RENEWED = {
    "the weights' type": {"policy.dtype": "bfloat16"},
    "the precision": {"train.precision": "bf16"},
    "attention": {"policy.attention": "eager"},
}


def test_what_does_not_touch_the_reference_costs_no_pass_of_it(recipe, tmp_path):
    path = recipe(evaluate={})
    groups = recorded(path, tmp_path)
    assert counts(copgkit.run(path, set=groups, output=tmp_path / "first")) == (0, 24)
    for what, change in {"nothing": {}, **SPARED}.items():
        assert counts(copgkit.run(path, set=groups | change, output=tmp_path / "again")) == (24, 0), what
    for what, change in RENEWED.items():
        again = copgkit.run(path, set=groups | change, output=tmp_path / "again")
        assert counts(again) == (0, 24), what


def test_a_reference_is_who_its_weights_and_settings_say(recipe, tmp_path, tiny_policy_folder):
    import shutil

    shutil.copytree(tiny_policy_folder, tmp_path / "policy")
    path = recipe(policy={"model": "policy"})
    own = reference_identity(load_recipe(path)).digest
    assert own == reference_identity(load_recipe(path, {"policy.model": str(tiny_policy_folder)})).digest
    for what, change in SPARED.items():
        assert reference_identity(load_recipe(path, change)).digest == own, what
    for what, change in RENEWED.items():
        assert reference_identity(load_recipe(path, change)).digest != own, what
    with (tmp_path / "policy/model.safetensors").open("ab") as file:
        file.write(b" ")
    assert reference_identity(load_recipe(path)).digest != own
    tabular = recipe(policy={"use": "tabular", "arms": ["a", "b"]}, sampler={"use": "policy"}, train={"steps": 1})
    assert reference_identity(load_recipe(tabular)) is None


# The command ----------------------------------------------------------------------------------------------------------


def test_the_store_command_lists_exports_and_prunes_references(recipe, tmp_path, copgkit_command):
    drawn = recorded(recipe(evaluate={}), tmp_path)["prompts.options.path"]
    path = recipe(evaluate={}, prompts={"use": "jsonl", "options": {"path": drawn}}, sampler={"use": "recorded"})
    copgkit.run(path, output=tmp_path / "one")
    copgkit.run(path, set={"train.precision": "bf16"}, output=tmp_path / "two")
    listed = json.loads(copgkit_command("store", "list", "--json")[1])
    assert [(one["name"], one["rows"]) for one in listed] == [("python", 24), *[("reference:policy", 6)] * 2]
    assert all(one["bytes"] > 6 * (32 + 4 * 8) for one in listed)
    _, out, _ = copgkit_command("store", "export", "--source", "reference:policy")
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 12
    assert all(len(line["log_probs"]) == 4 and max(line["log_probs"]) < 0 and "scores" not in line for line in lines)
    assert copgkit_command("store", "prune", "--all-but", path)[1].startswith("6 rows removed; ")
    assert counts(copgkit.run(path, output=tmp_path / "three")) == (24, 0)
    assert copgkit_command("store", "prune", "--source", "reference:policy")[1].startswith("6 rows removed; ")
    assert counts(copgkit.run(path, output=tmp_path / "four")) == (0, 24)


def test_check_counts_the_log_probabilities_of_recorded_groups_that_a_run_would_compute(
    recipe, tmp_path, copgkit_command
):
    drawn = copgkit.run(recipe(evaluate={}), set={"scoring.store": None}, output=tmp_path / "drawn")
    (tmp_path / "groups.jsonl").write_bytes((drawn.folder / "groups/round-0000.jsonl").read_bytes())

    def missing(path, *changes):
        _, out, _ = copgkit_command("check", path, "--missing", "--json", *changes)
        (figure,) = [one for one in json.loads(out)["plan"] if one["name"] == "missing: reference"]
        return figure["value"], figure["how"]

    assert missing(recipe(evaluate={})) == (None, "the completions are yet to be generated")
    prompts = {"use": "jsonl", "options": {"path": "groups.jsonl"}}
    recorded = recipe(prompts=prompts, sampler={"use": "recorded"}, evaluate={})
    assert missing(recorded) == (24, "log-probabilities that the store does not have")
    copgkit.run(recorded, output=tmp_path / "one")
    assert missing(recorded)[0] == 0
    assert missing(recorded, "--set", "objective.beta=0.1")[0] == 0
    assert missing(recorded, "--set", "train.precision=bf16")[0] == 24
    assert missing(recorded, "--set", "scoring.store=null") == (24, "computed every time: no store keeps them")
