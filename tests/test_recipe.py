"""Recipes: faults with file and line, options checked by their owners, overrides, origins, round trips."""

from __future__ import annotations

import pytest
from recipe_world import PLUGIN, RECIPE, write_recipe

from copgkit.errors import PluginError, RecipeError
from copgkit.recipe import load_recipe, make_plan, to_yaml


@pytest.fixture(autouse=True)
def _only_the_file(monkeypatch):
    monkeypatch.setenv("COPGKIT_PLUGINS", "")


def faults(path, changes=()):
    with pytest.raises(RecipeError) as fault:
        load_recipe(path, changes)
    return str(fault.value).replace(str(path), "r.yaml")


def test_a_sound_recipe_gives_sections_components_and_origins(tmp_path):
    resolved = load_recipe(write_recipe(tmp_path))
    assert resolved.recipe.train.learning_rate == 1e-6
    assert resolved.recipe.policy.use == "causal-lm"
    assert resolved.components.keys() == {"prompts", "sampler", "rewards[0]"}
    assert resolved.components["rewards[0]"].options.scale == 2.0
    assert resolved.components["rewards[0]"].registered.distribution == "world.py"
    assert resolved.origins["rewards[0].options.scale"] == "r.yaml:11"
    assert resolved.origins["rewards[0].options.strict"] == "default"
    assert resolved.folder == tmp_path.resolve()
    assert resolved.text == RECIPE


def test_every_value_has_an_origin(tmp_path):
    resolved = load_recipe(write_recipe(tmp_path), {"train.betas": [0.9, 0.95]})
    assert all(key in resolved.origins for key, _ in resolved.values())
    assert resolved.origins["train.betas"] == "--set"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  epochs: 2", "  epoch: 2", "r.yaml:14: train.epoch: unknown key of 'train'. Did you mean 'epochs'?"),
        ("version: 1", "beta: 1", "r.yaml:1: beta: unknown key of the recipe. It belongs to 'objective'."),
        (
            "model: tiny",
            "modle: tiny",
            "r.yaml:3: policy.modle: unknown key of 'policy'. Did you mean 'model'?",
        ),
        ("model: tiny", "revision: x", "r.yaml:3: policy.model: it is missing. A folder"),
        (
            "epochs: 2",
            "epochs: 1.5",
            "r.yaml:14: train.epochs: expected a whole number, found the number 1.5.",
        ),
        (
            "epochs: 2",
            "gradient_checkpointing: no",
            "r.yaml:14: train.gradient_checkpointing: expected true or false, found the text 'no'. Write false.",
        ),
        (
            "learning_rate: 1e-6",
            "learning_rate: '1e-6'",
            "r.yaml:16: train.learning_rate: expected a number, found the text '1e-6'. Write 1e-6, without quotes.",
        ),
        ("epochs: 2", "epochs: ", "r.yaml:14: train.epochs: expected a whole number, found nothing. Give it a value"),
        ("epochs: 2", "epochs: 0", "r.yaml:14: train.epochs: it must be greater than 0, found the number 0."),
        (
            "epochs: 2",
            "trackers: wandb",
            "r.yaml:14: train.trackers: expected a list, found the text 'wandb'. Write [wandb].",
        ),
        (
            "beta: 0.05",
            "use: copgg",
            "objective.use: expected copg, ipo, dpo or policy-gradient, found the text 'copgg'. Did you mean 'copg'?",
        ),
        (
            "use: drawn",
            "use: drwan",
            "r.yaml:7: sampler.use: no sampler is called 'drwan'. Did you mean 'drawn' (world.py",
        ),
        ("use: drawn", "use: taste", "r.yaml:7: sampler.use: no sampler is called 'taste'. There is a reward source"),
        (
            "      scale: 2",
            "      batch_sise: 2",
            "r.yaml:11: rewards[0].options.batch_sise: unknown option of 'taste' (world.py",
        ),
        ("      scale: 2", "      scale: 0", "r.yaml:11: rewards[0].options.scale: it must be greater than 0"),
        (
            "use: drawn",
            "use: drawn, completions_per_prompt: 4",
            "r.yaml:7: sampler.completions_per_prompt: unknown key of 'sampler'. If it is an option",
        ),
        ("{path: a.txt, limit: 100}", "{limit: 100}", "r.yaml:6: prompts.options.path: 'lines' (world.py"),
        ("world.py", "elsewhere.py", "r.yaml:2: plugins[0]: elsewhere.py: there is no such file."),
        (
            "policy: {",
            "policy: {use: tabular, arms: [a, b], ",
            "r.yaml:3: policy.model: unknown key of 'policy'. Known: use, arms",
        ),
        (
            "policy: {",
            "policy: {use: tabulr, ",
            "r.yaml:3: policy: expected causal-lm or tabular, found the text 'tabulr'.",
        ),
        ("use: taste", "use: 3", "r.yaml:9: rewards[0].use: expected text, found the number 3. Put it in quotes."),
    ],
)
def test_a_fault_names_line_key_and_remedy(tmp_path, old, new, message):
    assert message in faults(write_recipe(tmp_path, (old, new)))


def test_all_faults_are_reported_at_once_in_the_order_of_the_file(tmp_path):
    path = write_recipe(tmp_path, ("version: 1", "seed: x"), ("scale: 2", "scal: 2"), ("epochs: 2", "epoch: 2"))
    lines = faults(path).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["r.yaml:1", "r.yaml:11", "r.yaml:14"]


@pytest.mark.parametrize("name", ["evaluators", "evaluater"])
def test_the_python_name_of_a_key_is_not_a_second_spelling(tmp_path, name):
    path = write_recipe(tmp_path, ("train:", f"evaluate: {{{name}: []}}\ntrain:"))
    assert f"evaluate.{name}: unknown key of 'evaluate'" in faults(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("beta: 0.05", "beta: 0", "r.yaml:12: objective.beta: 0 needs groups drawn from the current policy"),
        ("beta: 0.05", "use: dpo, beta: 0", "r.yaml:12: objective.beta: dpo measures margins in 1/beta"),
        ("beta: 0.05", "use: ipo, clip: 2", "r.yaml:12: objective.clip: it belongs to copg"),
        ("beta: 0.05", "baseline: none", "r.yaml:12: objective.baseline: it belongs to policy-gradient"),
        ("epochs: 2", "tokens_per_forward: 99", "r.yaml:14: train.tokens_per_forward: 99 is less than a prompt with"),
        ("{use: drawn}", "{use: drawn, options: {every: 4}}", "r.yaml:13: train: sampler 'drawn' draws for ever."),
        (
            "{use: drawn}",
            "{use: drawn, options: {completions_per_prompt: 1}}",
            "r.yaml:7: sampler.options: one completion",
        ),
        (
            "train:",
            "evaluate: {with: [{use: count}]}\ntrain:",
            "r.yaml:13: evaluate.with: there is nothing to evaluate on.",
        ),
        (
            "  - use: taste",
            "  - use: taste\n  - use: taste",
            "r.yaml:10: rewards[1].use: 'taste' is also the name of rewards[0]",
        ),
        (
            "  - use: taste",
            "  - use: taste\n    name: a/b",
            "r.yaml:10: rewards[0].name: it becomes part of a metric's name.",
        ),
        ("model: tiny", "model: ./tiny", "r.yaml:3: policy.model: there is no folder './tiny'."),
        ("  - use: taste", "  - use: taste\n    weight: 0", "r.yaml:8: rewards: every weight is 0"),
    ],
)
def test_settings_that_are_wrong_together_are_refused(tmp_path, old, new, message):
    assert message in faults(write_recipe(tmp_path, (old, new)))


@pytest.mark.parametrize(("every", "sound"), [(1, True), (2, False), (None, False)])
def test_beta_0_needs_fresh_groups_at_every_step(tmp_path, every, sound):
    path = write_recipe(tmp_path, ("beta: 0.05", "beta: 0"))
    changes = {"sampler.options": {"every": every}, "train.steps": 10, "train.epochs": 1}
    if sound:
        assert load_recipe(path, changes).recipe.objective.beta == 0
        assert "with 2 epochs" in faults(path, {**changes, "train.epochs": 2})
    else:
        assert "objective.beta" in faults(path, changes)


def test_set_changes_values_by_the_rules_of_the_file(tmp_path):
    changes = ["objective.beta=1e-2", "rewards[0].weight=2", "rewards.0.options.strict=true", "evaluate.temperature=0"]
    resolved = load_recipe(write_recipe(tmp_path), changes)
    assert resolved.recipe.objective.beta == 0.01
    assert resolved.recipe.rewards[0].weight == 2.0
    assert resolved.parts.rewards[0].options.strict is True
    assert resolved.recipe.evaluate.temperature == 0
    for key in ("objective.beta", "rewards[0].weight", "rewards[0].options.strict", "evaluate.temperature"):
        assert resolved.origins[key] == "--set"


def test_set_takes_a_mapping_of_python_values(tmp_path):
    resolved = load_recipe(write_recipe(tmp_path), {"objective.beta": 0.1, "prompts.options.path": "1e-6"})
    assert resolved.recipe.objective.beta == 0.1
    assert resolved.parts.prompts.options.path == "1e-6"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epoch=2", "--set: train.epoch: unknown key of 'train'. Did you mean 'epochs'?"),
        ("trian.epochs=2", "--set: trian: unknown key of the recipe. Did you mean 'train'?"),
        ("train.epochs=no", "--set: train.epochs: expected a whole number, found the text 'no'."),
        ("rewards[1].weight=2", "--set rewards[1].weight: 'rewards' has 1 entries, counted from 0."),
        ("rewards.weight=2", "--set rewards.weight: 'rewards' is a list. Give a position, from 0: rewards[0]."),
        ("version.x=2", "--set version.x: 'version' is the number 1, which has no 'x'."),
        ("train.epochs", "--set train.epochs: there is no value."),
        ("train epochs=1", "--set train epochs: this is not a path."),
        ("train.epochs=[1", "--set train.epochs:1: "),
        ("objective.beta=0", "--set: objective.beta: 0 needs groups"),
    ],
)
def test_a_faulty_set_is_named_as_the_place(tmp_path, change, message):
    assert faults(write_recipe(tmp_path), [change]).startswith(message)


def test_the_resolved_recipe_reads_back_to_the_same_recipe(tmp_path):
    tricky = ["no", "1e-6", "010", "12:30", "null", "true", " padded ", "a: b", "# no comment", "ü\n"]
    resolved = load_recipe(
        write_recipe(
            tmp_path,
            ("model: tiny", "use: tabular, arms: [a, b]"),
            (", max_prompt_tokens: 60", ""),
            (", max_completion_tokens: 40", ""),
        ),
        {"policy.arms": tricky, "train.learning_rate": 3e-7},
    )
    (tmp_path / "again.yaml").write_text(to_yaml(resolved), encoding="utf-8")
    again = load_recipe(tmp_path / "again.yaml")
    assert again.recipe == resolved.recipe
    assert again.recipe.policy.arms == tricky
    assert str(tmp_path.resolve()) in to_yaml(resolved), "it says where relative paths start"


def test_a_setting_of_another_objective_is_not_among_the_values(tmp_path):
    keys = [key for key, _ in load_recipe(write_recipe(tmp_path)).values()]
    assert "objective.clip" in keys
    assert "objective.baseline" not in keys


def test_plugins_options_are_complete_in_the_resolved_recipe(tmp_path):
    resolved = load_recipe(write_recipe(tmp_path))
    assert resolved.recipe.rewards[0].options == {"scale": 2.0, "strict": False, "batch_size": 8}


def test_the_public_api_loads_recipes(tmp_path):
    import copgkit

    resolved = copgkit.load_recipe(str(write_recipe(tmp_path)), set={"objective.beta": 0.1})
    assert isinstance(resolved.recipe, copgkit.Recipe)
    assert resolved.recipe.objective.beta == 0.1


@pytest.mark.parametrize(
    ("model", "local"), [("assets/typo", True), ("org/name", False), ("a/b/c", True), ("gpt2", False)]
)
def test_a_model_that_can_only_be_a_folder_must_be_there(tmp_path, model, local):
    (tmp_path / "assets").mkdir()
    path = write_recipe(tmp_path, ("model: tiny", f"model: {model}"))
    if local:
        assert "policy.model: there is no folder" in faults(path)
    else:
        assert load_recipe(path).recipe.policy.model == model


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return self.options.limit", "return 1 / 0", "prompt source 'lines' (world.py"),
        (
            "    def load(self):",
            "    def setup(self):\n        1 / 0\n    def load(self):",
            "prompt source 'lines' (world.py",
        ),
        ("return SamplingPlan(", "return 1 / 0, SamplingPlan(", "sampler 'drawn' (world.py"),
    ],
)
def test_an_exception_in_a_plugin_is_blamed_on_its_owner(tmp_path, old, new, message):
    path = write_recipe(tmp_path)
    assert old in PLUGIN
    (tmp_path / "world.py").write_text(PLUGIN.replace(old, new, 1))
    with pytest.raises(PluginError) as fault:
        make_plan(load_recipe(path))
    assert str(fault.value).startswith(message)
    assert "raised ZeroDivisionError: division by zero" in str(fault.value)


def test_a_validator_that_raises_is_a_fault_of_the_options(tmp_path):
    path = write_recipe(tmp_path)
    check = "    @field_validator('scale')\n    def _check(cls, value):\n            raise KeyError('odd')\n"
    plugin = PLUGIN.replace(
        "        strict: bool",
        check.replace("    @", "        @").replace("    def", "        def") + "        strict: bool",
    )
    (tmp_path / "world.py").write_text("from pydantic import field_validator\n" + plugin)
    assert "rewards[0].options: 'taste' (world.py" in faults(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object()])
def test_a_python_value_that_no_file_could_hold_is_refused(tmp_path, value):
    assert "it is not plain data" in faults(write_recipe(tmp_path), {"objective.beta": value})


def test_the_callers_values_are_not_changed(tmp_path):
    options = {"every": None}
    load_recipe(write_recipe(tmp_path), {"sampler.options": options, "sampler.options.completions_per_prompt": 3})
    assert options == {"every": None}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("{use: taste, clip: [1, 1]}", r"rewards\[0\].clip: \[1.0, 1.0\] leaves no room between its ends"),
        ("{use: taste, clip: [1]}", r"rewards\[0\].clip"),
        ("{use: taste, scale: .inf}", r"rewards\[0\].scale"),
        ("{use: taste, weight: .nan}", r"rewards\[0\].weight"),
        ("{use: taste, scale: 0}", "every weight is 0"),
    ],
)
def test_a_map_of_scores_that_cannot_be_meant_is_refused(tmp_path, given, fault):
    path = write_recipe(tmp_path, ("  - use: taste\n    options:\n      scale: 2\n", f"  - {given}\n"))
    with pytest.raises(RecipeError, match=fault):
        load_recipe(path)


@pytest.mark.parametrize("store", ["scores.jsonl", "", "~/scores"])
def test_a_store_is_named_so_that_no_data_file_can_be_meant(tmp_path, store):
    with pytest.raises(RecipeError, match=r"scoring.store"):
        load_recipe(write_recipe(tmp_path), {"scoring.store": store})
    assert load_recipe(tmp_path / "r.yaml", {"scoring.store": "my.sqlite"}).recipe.scoring.store == "my.sqlite"
