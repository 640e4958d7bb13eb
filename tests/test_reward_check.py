"""What was logged is what was optimised: the check sees a reward, a score or a log that was changed."""

import json
import statistics

import pytest

from copgkit import Completion, Group, Prompt, Score, ScoredGroup
from copgkit.recipe import Recipe
from copgkit.runner.reward_check import check_rewards, disagreement
from copgkit.store import RunFolder, write_groups

RECIPE = Recipe.model_validate(
    {
        "policy": {"model": "owner/name"},
        "prompts": {"use": "jsonl"},
        "sampler": {"use": "recorded"},
        "rewards": [
            {"use": "judge", "clip": [-1.0, 1.0], "scale": 0.3, "shift": 0.1, "weight": 0.7},
            {"use": "length", "weight": -2.0},
        ],
        "scoring": {"unfinished_penalty": -0.5},
    }
)


def first_reward(judge, length, finished=True):
    """By hand: 0.7 · (0.3 · clip(judge) + 0.1) - 2 · length - 0.5 if it was cut off."""
    clipped = min(max(judge, -1.0), 1.0)
    return 0.7 * (0.3 * clipped + 0.1) + -2.0 * length + (0.0 if finished else -0.5)


@pytest.fixture
def folder(tmp_path):
    """A run's folder with one round of two groups, and the row that was logged of it."""
    run = RunFolder.create(tmp_path / "run")
    prompt, groups = Prompt("p"), []
    for scores in (((3.0, 1.0), (0.5, 0.0)), ((-0.2, 0.25), (0.1, 2.0))):
        completions = tuple(Completion(prompt, f"t{k}", (1, 2), finished=k == 0) for k in range(2))
        rewards = tuple(first_reward(judge, length, k == 0) for k, (judge, length) in enumerate(scores))
        columns = {"judge": [Score(one) for one, _ in scores], "length": [Score(one) for _, one in scores]}
        groups.append(ScoredGroup(Group(prompt, completions), columns, rewards))
    write_groups(run.groups / "round-0000.jsonl", groups)
    mean = statistics.fmean(reward for group in groups for reward in group.rewards)
    return run, [{"step": 0, "round/reward/mean": mean}]


def test_rewards_are_worked_out_again_and_sources_have_their_raw_and_weighted_means(folder):
    found = check_rewards(folder[0], RECIPE, folder[1])
    assert (found["checked"], found["wrong-rewards"], found["wrong-means"]) == (4, 0, 0)
    assert found["sources"]["length"] == {"raw-mean": 0.8125, "weighted-mean": -1.625}
    assert found["sources"]["judge"]["raw-mean"] == pytest.approx(0.85)
    assert found["sources"]["judge"]["weighted-mean"] == pytest.approx(0.7 * (0.3 * (1 + 0.5 - 0.2 + 0.1) / 4 + 0.1))
    assert disagreement(found) is None


def test_an_abstention_adds_nothing_not_even_its_shift(tmp_path):
    run, prompt = RunFolder.create(tmp_path / "run"), Prompt("p")
    pair = (Completion(prompt, "a"), Completion(prompt, "b"))
    columns = {"judge": [Score.abstain(), Score(0.0)], "length": [Score(1.0), Score(1.0)]}
    write_groups(
        run.groups / "round-0000.jsonl",
        [ScoredGroup(Group(prompt, pair), columns, (-2.0, 0.7 * (0.3 * 0.0 + 0.1) - 2.0))],
    )
    assert check_rewards(run, RECIPE, [])["wrong-rewards"] == 0


@pytest.mark.parametrize("what", ["reward", "score", "log"])
def test_whatever_was_changed_is_seen(folder, what):
    run, rows = folder
    file = run.groups / "round-0000.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    if what == "reward":
        lines[1]["rewards"][0] += 1e-12
    elif what == "score":
        lines[1]["completions"][0]["scores"]["length"] = 0.5
    else:
        rows[0]["round/reward/mean"] += 1e-12
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = check_rewards(run, RECIPE, rows)
    assert (found["wrong-rewards"], found["wrong-means"]) == {"reward": (1, 1), "score": (1, 0), "log": (0, 1)}[what]
    assert "do not rely on this run" in disagreement(found)
