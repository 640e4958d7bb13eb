"""Samplers in the options of samplers: the recipe checks them like any other use, at any depth."""

import json

import pytest
import yaml
from recipe_world import PLUGIN, write_recipe

from copgkit import PluginError, RecipeError, Sampler, SamplerContext, SamplerUse, SamplingPlan
from copgkit.cli.describe import describe
from copgkit.recipe import json_schema, load_recipe, make_plan, to_yaml
from copgkit.registry import Registry

WRAPPERS = """
from copgkit import SamplerUse, RecipeError

class Halved(Sampler):
    class Options(Sampler.Options):
        sampler: SamplerUse = Field(description="What is inside.")
    def setup(self):
        self.inner = self.context.make(self.options.sampler)
    @property
    def on_policy(self):
        return self.options.sampler.unmade.on_policy
    @property
    def steps_per_round(self):
        return self.options.sampler.unmade.steps_per_round
    def draw(self, num_groups):
        return self.inner.draw(num_groups)
    @classmethod
    def plan(cls, options):
        plan = options.sampler.plan
        if plan.completions_per_prompt > 8:
            raise RecipeError("more than 8 completions are too many for 'halved'. Draw fewer.")
        each = (plan.completions_per_prompt, plan.generations_per_group)
        return SamplingPlan(*each, plan.generator, drawn_per_group=0.5)

class Named(SamplerUse):
    ratio: float = 1.0

class Several(Sampler):
    class Options(Sampler.Options):
        samplers: list[Named] = Field(min_length=1, description="Those inside.")
        default: SamplerUse = SamplerUse(use="drawn")
    def draw(self, num_groups):
        return []

@hookimpl
def register_samplers(register):
    register("drawn", Drawn)
    register("halved", Halved)
    register("several", Several)
"""
ONE = (
    "sampler: {use: drawn}",
    "sampler:\n  use: halved\n  options:\n    sampler:\n      use: drawn\n      options: {}\n",
)


@pytest.fixture(autouse=True)
def _only_the_file(monkeypatch):
    monkeypatch.setenv("COPGKIT_PLUGINS", "")


@pytest.fixture
def recipe(tmp_path):
    def write(*changes):
        path = write_recipe(tmp_path, *changes)
        first = PLUGIN.index("@hookimpl\ndef register_samplers")
        second = PLUGIN.index("@hookimpl\ndef register_reward")
        (tmp_path / "world.py").write_text(PLUGIN[:first] + PLUGIN[second:] + WRAPPERS)
        return path

    return write


def test_a_sampler_inside_another_is_a_component_with_complete_options_and_origins(recipe):
    resolved = load_recipe(recipe(ONE, ("options: {}", "options: {every: 1}"), ("  epochs: 2", "  steps: 3")))
    inner = resolved.components["sampler.options.sampler"]
    assert inner.registered.name == "drawn"
    assert inner.options.every == 1
    assert resolved.origins["sampler.options.sampler.use"] == "r.yaml:11"
    assert resolved.origins["sampler.options.sampler.options.completions_per_prompt"] == "default"
    assert resolved.sampler_facts.on_policy
    assert resolved.sampler_facts.steps_per_round == 1
    again = yaml.safe_load(to_yaml(resolved))["sampler"]
    assert again["options"]["sampler"] == {"use": "drawn", "options": {"completions_per_prompt": 2, "every": 1}}


def test_the_plan_counts_what_the_outer_sampler_says_of_the_inner_one(recipe):
    plan = make_plan(load_recipe(recipe(ONE)))
    assert plan["groups"] == 100
    assert plan["generation"] == 100  # half the groups are drawn, two completions each
    assert plan["scores: taste"] == 100
    assert plan["reference"] == 200


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "use: drawn",
            "use: drwan",
            "r.yaml:11: sampler.options.sampler.use: no sampler is called 'drwan'. Did you mean",
        ),
        (
            "options: {}",
            "options: {evry: 2}",
            "r.yaml:12: {}.options.evry: unknown option of 'drawn' (world.py",
        ),
        (
            "      options: {}",
            "      option: {}",
            "r.yaml:12: {}.option: unknown option of 'halved'",
        ),
        (
            "options: {}",
            "options: {completions_per_prompt: 9}",
            "sampler.options: more than 8 completions",
        ),
    ],
)
def test_a_fault_inside_names_line_and_nearest_name(recipe, old, new, message):
    path = recipe(ONE, (old, new))
    with pytest.raises(RecipeError) as fault:
        load_recipe(path)
    assert message.format("sampler.options.sampler") in str(fault.value).replace(str(path), "r.yaml")


def test_lists_depth_subclasses_and_defaults_are_followed(recipe):
    nested = (
        "sampler: {use: drawn}",
        "sampler: {use: several, options: {samplers: [{use: drawn, ratio: 2}, {use: halved, options: {sampler:"
        " {use: drawn, options: {every: 4}}}}]}}",
    )
    resolved = load_recipe(recipe(nested))
    keys = [key for key in resolved.components if key.startswith("sampler")]
    assert keys == [
        "sampler",
        "sampler.options.samplers[0]",
        "sampler.options.samplers[1]",
        "sampler.options.samplers[1].options.sampler",
        "sampler.options.default",
    ]
    sampler = resolved.parts.sampler.make(SamplerContext(name="several", seed=5))
    made = sampler.context.make(sampler.options.samplers[1])
    assert (made.context.name, made.inner.context.name) == ("halved", "drawn")
    assert made.inner.context.seed == 5
    assert made.inner.options.every == 4


def test_the_json_schema_completes_samplers_inside_samplers(recipe, tmp_path):
    recipe()
    schema = json_schema(Registry.load([tmp_path / "world.py"]))
    named = schema["$defs"]["sampler.several.Named"]
    assert named["properties"]["use"]["anyOf"][0] == {"enum": ["drawn", "halved", "several"]}
    assert "ratio" in named["properties"]
    assert [rule["if"]["properties"]["use"]["const"] for rule in named["allOf"]] == ["drawn", "halved", "several"]
    json.dumps(schema)  # no definition holds itself


def test_describe_says_that_an_option_takes_a_sampler(recipe, tmp_path, monkeypatch, capsys):
    recipe()
    registry = Registry.load([tmp_path / "world.py"])
    monkeypatch.setattr(Registry, "load", lambda: registry)
    describe("several")
    out = capsys.readouterr().out
    assert "list of sampler {use, options, ratio}" in out


def test_in_python_a_use_is_made_of_a_class():
    class Fixed(Sampler):
        class Options(Sampler.Options):
            every: int = 1

        def draw(self, num_groups):
            return [self.options.every] * num_groups

        @classmethod
        def plan(cls, options):
            return SamplingPlan(2, 0, "none")

    use = SamplerUse.of(Fixed, every=3)
    assert SamplerContext().make(use).draw(2) == [3, 3]
    assert use.plan.completions_per_prompt == 2
    assert use.model_dump() == {"use": "Fixed", "options": {"every": 3}}
    with pytest.raises(PluginError, match="'ghost': the name is not tied to a sampler"):
        SamplerContext().make(SamplerUse(use="ghost"))


def test_a_fault_in_the_setup_of_an_inner_sampler_is_blamed_on_its_owner(recipe, tmp_path):
    path = recipe(ONE)
    world = (tmp_path / "world.py").read_text()
    broken = world.replace("class Drawn(Sampler):", "class Drawn(Sampler):\n    def setup(self):\n        1 / 0", 1)
    (tmp_path / "world.py").write_text(broken)
    sampler = load_recipe(path).parts.sampler
    with pytest.raises(PluginError, match=r"sampler 'drawn' \(world\.py \w+\): setup\(\) raised ZeroDivisionError"):
        sampler.make(SamplerContext(name="halved"))
