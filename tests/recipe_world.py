"""Little worlds for recipe tests: one plugin of every kind in a file with a recipe that uses them, which is never run;
and recipes that are run, over a few posts with a tiny model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PLUGIN = """
from pydantic import Field
from copgkit import Evaluator, PromptSource, RewardSource, Sampler, SamplingPlan, hookimpl

class Lines(PromptSource):
    class Options(PromptSource.Options):
        path: str = Field(description="A text file.")
        limit: int | None = None
    def load(self):
        return []
    def count(self):
        return self.options.limit

class Drawn(Sampler):
    class Options(Sampler.Options):
        completions_per_prompt: int = 2
        every: int | None = None
    @property
    def on_policy(self):
        return self.options.every == 1
    @property
    def steps_per_round(self):
        return self.options.every
    def draw(self, num_groups):
        return []
    @classmethod
    def plan(cls, options):
        return SamplingPlan(options.completions_per_prompt, options.completions_per_prompt, "reference")

class Taste(RewardSource):
    '''What somebody likes.'''
    class Options(RewardSource.Options):
        scale: float = Field(1.0, gt=0, description="A factor.")
        strict: bool = False
        batch_size: int = 8
    def score(self, completions):
        return []

class Count(Evaluator):
    def evaluate(self, evaluation):
        return {}

@hookimpl
def register_prompt_sources(register):
    register("lines", Lines)

@hookimpl
def register_samplers(register):
    register("drawn", Drawn)

@hookimpl
def register_reward_sources(register):
    register("taste", Taste)

@hookimpl
def register_evaluators(register):
    register("count", Count)
"""

RECIPE = """\
version: 1
plugins: [world.py]
policy: {model: tiny, max_prompt_tokens: 60, max_completion_tokens: 40}
prompts:
  use: lines
  options: {path: a.txt, limit: 100}
sampler: {use: drawn}
rewards:
  - use: taste
    options:
      scale: 2
objective: {beta: 0.05}
train:
  epochs: 2
  groups_per_step: 32
  learning_rate: 1e-6
"""


def write_recipe(folder: Path, *changes: tuple[str, str], text: str = RECIPE) -> Path:
    """Writes plugin and recipe, with pieces of the recipe's text replaced, and gives the recipe's path."""
    for old, new in changes:
        assert old in text, f"{old!r} is not in the recipe"
        text = text.replace(old, new, 1)
    (folder / "world.py").write_text(PLUGIN)
    path = folder / "r.yaml"
    path.write_text(text)
    return path


def write_run(
    folder: Path, model: Path, posts: Sequence[Mapping[str, Any]], files: Mapping[str, str], **sections: Any
) -> Path:
    """Writes the posts, the files by name, and a recipe over them that samples from the reference and has these
    sections, and gives the recipe's path. A section replaces the one that is there; `policy` changes it, unless it is
    another kind."""
    (folder / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    for name, text in files.items():
        (folder / name).write_text(text)
    policy = {"model": str(model), "max_prompt_tokens": 32, "max_completion_tokens": 8}
    changes = sections.pop("policy", {})
    data = {
        "policy": changes if "use" in changes else policy | changes,
        "prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}},
        "sampler": {"use": "reference", "options": {"completions_per_prompt": 4}},
        "objective": {"use": "copg", "beta": 0.5},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data | sections, sort_keys=False))
    return path
