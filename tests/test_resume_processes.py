"""Runs of two processes that are broken off together and taken up again, also where each has its part of the weights."""

from __future__ import annotations

import pytest
from process_world import in_processes
from recipe_world import write_run
from resume_world import Killed, outcome

import copgkit
from copgkit.engine.training import Training

POSTS = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]
REWARD = "def score(completion):\n    return float(completion.count('cat')) - 0.1 * len(completion.split())\n"
POLICY = {"use": "policy", "options": {"completions_per_prompt": 3}}
SETTINGS = {
    "all weights": {},
    "divided weights, a reference that follows": {"train": {"shard": True}, "reference": {"refresh_every": 2}},
    "divided adapters": {"train": {"shard": True}, "policy": {"lora": {"rank": 2}}},
    "divided 16-bit weights": {"train": {"shard": True}, "policy": {"dtype": "bfloat16"}},
}


def _recipe(folder, model, changes):
    sections = {
        "sampler": {"use": "replay", "options": {"share": 0.4, "sampler": POLICY}},
        "rewards": [{"use": "python", "options": {"file": "reward.py"}}],
        "scoring": {"store": None},
        "evaluate": {
            "every": 2,
            "prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}},
            "with": [{"use": "reward-summary"}, {"use": "kl"}],
        },
    } | changes
    train = {"steps": 5, "groups_per_step": 3, "learning_rate": 0.01, "warmup": 0.0, "checkpoint_every": 1}
    sections["train"] = train | changes.get("train", {})
    return write_run(folder, model, POSTS, {"reward.py": REWARD}, **sections)


def _run(recipe, output, dies_at):
    """Runs until the step of this number is to be taken, in every process; None for the whole run."""
    real = Training._take

    def take(self, examples):
        if self.step == dies_at:
            raise Killed
        return real(self, examples)

    Training._take = take
    try:
        copgkit.run(recipe, output=output)
    except Killed:
        return False
    return True


@pytest.mark.parametrize("setting", SETTINGS)
def test_two_processes_go_on_to_the_same_end(tmp_path, tiny_policy_folder, setting):
    recipe = _recipe(tmp_path, tiny_policy_folder, SETTINGS[setting])
    assert in_processes(2, _run, recipe, tmp_path / "whole", None) == [True, True]
    assert in_processes(2, _run, recipe, tmp_path / "out", 3) == [False, False]
    assert in_processes(2, _run, recipe, tmp_path / "out", None) == [True, True]
    assert outcome(tmp_path / "out") == outcome(tmp_path / "whole")
