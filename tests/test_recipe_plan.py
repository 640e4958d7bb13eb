"""The plan of a run: hand-computed counts, sizes from headers, and unknown where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipe_world import write_recipe

from copgkit.recipe import json_schema, load_recipe, make_plan
from copgkit.recipe.model_files import parameters_in
from copgkit.registry import Registry

RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.fixture(autouse=True)
def _only_the_file(monkeypatch):
    monkeypatch.setenv("COPGKIT_PLUGINS", "")


def write_model(folder, shapes, **config):
    folder.mkdir()
    header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    (folder / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw)
    (folder / "config.json").write_text(json.dumps(config))


def test_offline_counts_follow_from_prompts_epochs_and_groups(tmp_path):
    plan = make_plan(load_recipe(write_recipe(tmp_path)))
    assert plan["prompts"] == 100
    assert plan["groups"] == 100
    assert plan["steps"] == 2 * 4  # 100 groups make steps of 32, 32, 32 and 4
    assert plan["generation"] == 200
    assert plan["reference"] == 200
    assert plan["evaluation"] == 0
    assert plan["scores: taste"] == 200
    assert plan["tokens"] == 200 * 100 * 2


def test_evaluation_draws_from_the_reference_once_and_from_the_policy_each_time(tmp_path):
    text = "evaluate: {every: 3, max_prompts: 16, prompts: {use: lines, options: {path: b, limit: 50}}}\ntrain:"
    plan = make_plan(load_recipe(write_recipe(tmp_path, ("train:", text))))
    assert plan["evaluation"] == 16 * (1 + 3)  # reference at step 0; policy at steps 3, 6 and 8
    assert plan["scores: taste"] == 200 + 64


def test_a_limit_of_steps_is_kept_offline_and_needed_online(tmp_path):
    path = write_recipe(tmp_path)
    assert make_plan(load_recipe(path, {"train.steps": 5}))["steps"] == 5
    assert make_plan(load_recipe(path, {"train.steps": 50}))["steps"] == 8, "the groups are used up first"
    online = make_plan(load_recipe(path, {"train.steps": 10, "train.epochs": 1, "sampler.options": {"every": 2}}))
    assert (online["steps"], online["groups"]) == (10, 5 * 2 * 32)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({}, "known as it writes them"),
        ({"train.precision": "bf16"}, "computed once and kept"),
        ({"policy.dtype": "bfloat16"}, "computed once and kept"),
        ({"reference.refresh_every": 4}, "computed once and kept"),
        ({"sampler.use": "recorded", "sampler.options": {}}, "computed once and kept"),
    ],
)
def test_what_the_reference_writes_in_float32_it_is_not_asked_again(change, how, monkeypatch):
    monkeypatch.delenv("COPGKIT_PLUGINS")
    plan = make_plan(load_recipe(RECIPES / "tldr.yaml", change))
    (figure,) = (one for one in plan.figures if one.name == "reference")
    assert figure.how == f"its log-probabilities, {how}"


def test_what_is_not_known_is_none_and_says_why(tmp_path):
    plan = make_plan(load_recipe(write_recipe(tmp_path, (", limit: 100", ""))))
    for name in ("prompts", "groups", "steps", "generation", "reference", "parameters", "memory", "disk"):
        assert plan[name] is None
    assert all(figure.how for figure in plan.figures)


def test_parameters_are_counted_in_the_header_and_memory_follows_the_rule(tmp_path):
    path = write_recipe(tmp_path)
    write_model(
        tmp_path / "tiny", {"a": [100, 10], "b": [24], "scalar": []}, num_hidden_layers=2, hidden_size=10, vocab_size=7
    )
    plan = make_plan(load_recipe(path))
    assert plan["parameters"] == 1000 + 24 + 1
    tokens = 4096  # the budget; all 32 groups of a step would take 32 * (60 + 2 * 40)
    logits = 4 * (2**26 + 3 * 4_000_000)  # whatever the vocabulary
    assert plan["memory"] == 1025 * 4 * 4 + tokens * 10 * 2 * 34 * 2 + logits
    smaller = make_plan(load_recipe(path, {"train.tokens_per_forward": 1024, "train.precision": "bf16"}))
    assert smaller["memory"] == 1025 * 4 * 4 + tokens // 4 * 10 * 2 * 34 + logits
    recomputed = make_plan(load_recipe(path, {"train.gradient_checkpointing": True}))
    assert recomputed["memory"] == 1025 * 4 * 4 + tokens * 10 * (2 * 2 + 34) * 2 + logits
    moving = make_plan(load_recipe(path, {"reference.refresh_every": 5}))
    assert moving["memory"] == plan["memory"] + 1025 * 4
    fresh = {"sampler.options.every": 1, "train.steps": 3, "train.epochs": 1}
    online = make_plan(load_recipe(path, fresh))
    assert online["memory"] == plan["memory"] + 1025 * 4, "the reference stays"
    assert plan["disk"] == 1025 * 4 + 100 * 60 * 4 + 200 * 40 * 11


def test_a_header_that_is_damaged_makes_the_size_unknown(tmp_path):
    path = write_recipe(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"\xff" * 8)
    plan = make_plan(load_recipe(path))
    assert plan["parameters"] is None
    assert "header cannot be read" in next(figure.how for figure in plan.figures if figure.name == "parameters")


def test_the_header_gives_what_the_library_gives(tiny_policy_folder):
    from transformers import AutoModelForCausalLM

    counted = parameters_in(tiny_policy_folder / "model.safetensors")
    assert counted == AutoModelForCausalLM.from_pretrained(tiny_policy_folder).num_parameters()


def test_the_json_schema_ties_options_to_the_component(tmp_path):
    write_recipe(tmp_path)
    schema = json_schema(Registry.load([tmp_path / "world.py"]))
    taste = schema["$defs"]["reward-source"]
    (rule,) = taste["allOf"]
    assert rule["if"]["properties"]["use"] == {"const": "taste"}
    assert rule["then"]["properties"]["options"]["properties"]["scale"]["exclusiveMinimum"] == 0
    assert schema["properties"]["rewards"]["items"] == {"$ref": "#/$defs/reward-source"}
    assert schema["$defs"]["prompt-source"]["allOf"][0]["then"]["required"] == ["options"]


def test_every_reference_of_the_json_schema_leads_somewhere(tmp_path):
    write_recipe(tmp_path)
    schema = json_schema(Registry.load([tmp_path / "world.py"]))
    references = []

    def collect(value):
        if isinstance(value, dict):
            references.extend([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            value = list(value.values())
        for inside in value if isinstance(value, list) else ():
            collect(inside)

    collect(schema)
    assert references
    assert {reference.rpartition("/")[2] for reference in references} <= set(schema["$defs"])
