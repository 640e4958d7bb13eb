"""Runs that are killed and taken up again, and what they must have in common with one that was not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from recipe_world import write_run

import copgkit
from copgkit import Progress

WORLD = """
from copgkit import Prompt, PromptSource, RewardSource, Score, hookimpl

class Places(PromptSource):
    class Options(PromptSource.Options):
        count: int = 6
    def load(self):
        return [Prompt(f"place {n}", id=str(n), facts={"best": "abc"[n % 3]}) for n in range(self.options.count)]

class Best(RewardSource):
    def score(self, completions):
        return [Score(float(one.text == one.prompt.facts["best"]) + 0.1 * (one.text == "a")) for one in completions]

@hookimpl
def register_prompt_sources(register):
    register("places", Places)

@hookimpl
def register_reward_sources(register):
    register("best", Best)
"""

PLACES = {"use": "places"}
POLICY = {"use": "policy", "options": {"completions_per_prompt": 3}}


def tabular_recipe(folder: Path, model: Path | None = None, /, **sections: Any) -> Path:
    """A recipe of a table and rounds from the policy: a run takes a fraction of a second."""
    (folder / "world.py").write_text(WORLD)
    recipe = {
        "version": 1,
        "plugins": ["world.py"],
        "policy": {"use": "tabular", "arms": ["a", "b", "c"]},
        "prompts": PLACES,
        "sampler": POLICY,
        "rewards": [{"use": "best"}],
        "objective": {"beta": 0.5},
        "train": {"steps": 24, "groups_per_step": 4, "learning_rate": 0.05, "checkpoint_every": 1},
        "evaluate": {"every": 6, "prompts": PLACES, "with": [{"use": "kl"}, {"use": "reward-summary"}]},
    }
    for name, section in sections.items():
        own = recipe.get(name)
        recipe[name] = own | section if isinstance(own, dict) and name in ("train", "evaluate", "policy") else section
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def worded_recipe(folder: Path, model: Path, /, **sections: Any) -> Path:
    """A recipe of a tiny language model that draws round after round, and trains in several passes a step."""
    posts = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]
    score = "def score(completion):\n    return float(completion.count('cat')) - 0.1 * len(completion.split())\n"
    held_out = {"use": "jsonl", "options": {"path": "posts.jsonl"}}
    usual: dict[str, Any] = {
        "rewards": [{"use": "python", "options": {"file": "reward.py"}}],
        "sampler": {
            "use": "replay",
            "options": {"sampler": {"use": "policy", "options": {"completions_per_prompt": 4}}},
        },
        "scoring": {"store": None},
        "evaluate": {"every": 2, "prompts": held_out, "with": [{"use": "reward-summary"}, {"use": "kl"}]},
    }
    train = {"steps": 4, "groups_per_step": 3, "learning_rate": 0.01, "tokens_per_forward": 40}
    train |= sections.pop("train", {})
    return write_run(folder, model, posts, {"reward.py": score}, **usual | sections, train=train)


def outcome(folder: Path) -> dict[str, Any]:
    """All that must not depend on where a run was broken off: every byte of metrics, samples, groups and model, and the
    hash of weights and optimiser."""
    files = [folder / "metrics.jsonl", folder / "samples.jsonl", *folder.glob("groups/*"), *folder.glob("model/**/*")]
    kept = {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}
    kept.pop("model/README.md", None)  # it says when the run was
    return kept | {"training": json.loads((folder / "run.json").read_text())["last_checkpoint"]}


class Killed(BaseException):
    """Stands for SIGKILL within a process."""


class Killing(Progress):
    """Ends the process, as it were, at the n-th sign of life."""

    def __init__(self, at: int | None = None) -> None:
        super().__init__()
        self.at, self.seen = at, 0
        self.events: list[str] = []

    @contextmanager
    def phase(self, name, total=None, unit=""):
        self._sign(name)
        yield _KillingPhase(self, name)
        self._sign(name)

    def _sign(self, name: str) -> None:
        self.events.append(name)
        self.seen += 1
        if self.seen == self.at:
            raise Killed(name)


@dataclass
class _KillingPhase(copgkit.Phase):
    progress: Killing
    name: str

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.progress._sign(self.name)


def broken_off(recipe: Path, output: Path, at: int, changes: Mapping[str, Any] = {}) -> str | None:
    """Runs until the n-th sign of life, and gives the phase in which that was; None if it came to its end before."""
    try:
        copgkit.run(recipe, set=changes, output=output, progress=Killing(at))
    except Killed as kill:
        return str(kill)
    return None
