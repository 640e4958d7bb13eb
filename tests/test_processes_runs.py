"""Runs in two processes are the run in one: the same groups, scores, figures and weights, and everything once."""

import json
import os
import subprocess
import sys

import pytest
from process_world import in_processes
from recipe_world import write_run
from safetensors.torch import load_file

import copgkit
from copgkit import CopgkitError

POSTS = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]
ODD = {"prompt": "a cat and a dog and a cat ran under the hill and then it was happy :"}
REWARD = """
from pathlib import Path

def score(completion, prompt):
    with (Path(__file__).parent / "asked.txt").open("a") as file:
        file.write(f"{prompt!r} {completion!r}\\n")
    return float(completion.count("cat")) - 0.1 * len(completion.split())
"""
OFFLINE = {"use": "reference", "options": {"completions_per_prompt": 3}}
ON_POLICY = {"use": "policy", "options": {"completions_per_prompt": 3}}
REPLAY = {"use": "replay", "options": {"share": 0.4, "sampler": ON_POLICY}}


@pytest.fixture
def recipe(tmp_path, tiny_policy_folder):
    """Writes a recipe of five prompts and 3 groups a step, whose last step of an epoch has 2."""

    def write(**sections):
        prompts = {"use": "jsonl", "options": {"path": "posts.jsonl"}}
        train = {"epochs": 2, "groups_per_step": 3, "learning_rate": 0.003, "warmup": 0.0}
        usual = {
            "sampler": OFFLINE,
            "rewards": [{"use": "python", "options": {"file": "reward.py", "function": "score"}}],
            "scoring": {"store": "scores.sqlite"},
            "evaluate": {"every": 2, "prompts": prompts, "with": [{"use": "reward-summary"}, {"use": "kl"}]},
        } | sections
        usual["train"] = train | sections.get("train", {})
        usual["policy"] = {"max_prompt_tokens": 24} | sections.get("policy", {})
        return write_run(tmp_path, tiny_policy_folder, [*POSTS, ODD], {"reward.py": REWARD}, **usual)

    return write


def _run(path, output, changes=()):
    result = copgkit.run(path, set=changes, output=output)
    return str(result.folder), result.steps, [dict(row) for row in result.rows]


def _asked(folder):
    file = folder / "asked.txt"
    lines = file.read_text().splitlines()
    file.unlink()
    return sorted(lines)


def _assert_same_rows(ours, theirs):
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-4, abs=1e-5)


def _assert_same_weights(one, other):
    ours, theirs = (load_file(f"{folder}/model/model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for name in ours:
        gap = (ours[name] - theirs[name]).norm() / theirs[name].norm()
        # Most are within 3e-6; an entry whose gradient is next to 0 is moved by AdamW as far as any other.
        assert gap < 1e-4, (name, gap)


@pytest.mark.parametrize(
    ("sampler", "train", "more"),
    [
        (OFFLINE, {}, {}),
        # The second step has one group for two processes.
        (OFFLINE, {"groups_per_step": 4, "tokens_per_forward": 32}, {}),
        (ON_POLICY, {"steps": 3}, {}),
        (REPLAY, {"steps": 4}, {}),
        (ON_POLICY, {"steps": 3}, {"policy": {"lora": {"rank": 2}}}),
        # One group does not fit a forward pass, so that its completions are back-propagated in parts.
        (
            OFFLINE,
            {"shard": True, "tokens_per_forward": 32, "max_grad_norm": 0.1, "gradient_checkpointing": True},
            {"reference": {"refresh_every": 2}},
        ),
        (ON_POLICY, {"steps": 3, "shard": True}, {"policy": {"lora": {"rank": 2}}}),
    ],
    ids=["offline", "a step of one group", "on-policy", "replay", "adapters", "divided weights", "divided adapters"],
)
def test_two_processes_end_with_the_weights_of_one(recipe, tmp_path, sampler, train, more):
    path = recipe(sampler=sampler, train=train, **more)
    alone, steps, rows = _run(path, tmp_path / "alone")
    asked = _asked(tmp_path)
    (tmp_path / "scores.sqlite").unlink()
    (folder, together, rows_together), (_, _, rows_of_other) = in_processes(2, _run, path, tmp_path / "together")
    assert together == steps
    assert _asked(tmp_path) == asked, "what one process asks for is asked for once"
    _assert_same_rows(rows_together, rows)
    _assert_same_rows(rows_of_other, rows)
    _assert_same_weights(folder, alone)
    for name in ("groups/round-0000.jsonl", "samples.jsonl"):
        ours, theirs = ((tmp_path / run / name).read_text() for run in ("together", "alone"))
        assert _without_floats(ours) == _without_floats(theirs)
    assert json.loads((tmp_path / "together/run.json").read_text())["processes"] == 2
    assert len(list(tmp_path.glob("together*"))) == 1


def _without_floats(text):
    """Rows without log-ratios, which agree up to rounding."""
    return [{key: value for key, value in json.loads(line).items() if key != "log_ratio"} for line in text.splitlines()]


def test_more_processes_than_groups_in_a_step_are_refused(recipe, tmp_path):
    path = recipe(train={"groups_per_step": 1})
    with pytest.raises(CopgkitError, match=r"train\.groups_per_step: 1 groups cannot be divided among 2 processes"):
        in_processes(2, _run, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _run_with_own_seed(path, output):
    from copgkit.engine import ranks

    return _run(path, output, [f"seed={ranks.rank()}"])


def test_processes_with_different_recipes_are_refused(recipe, tmp_path):
    with pytest.raises(CopgkitError, match=r"process 1 of 2: its recipe is another .*'seed: 0' against 'seed: 1'"):
        in_processes(2, _run_with_own_seed, recipe(), tmp_path / "out")


def test_processes_with_different_score_stores_are_refused(recipe, tmp_path, monkeypatch):
    path = recipe(scoring={"store": "cache"})
    with pytest.raises(CopgkitError, match=r"process 1 of 2: its score store is another"):
        in_processes(2, _with_own_cache, path, tmp_path)


def _with_own_cache(path, folder):
    from copgkit.engine import ranks

    os.environ["COPGKIT_CACHE"] = str(folder / f"cache-{ranks.rank()}")
    return _run(path, folder / "out")


FAILS_IN_ONE = """
import os

def score(completion):
    if os.environ["RANK"] == "1":
        raise OSError("the disk of this one is full")
    return 1.0
"""


def _command(*words):
    call = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, timeout=300)
    return call.returncode, call.stdout, call.stderr


def test_an_error_in_one_process_of_a_run_ends_all_and_is_shown_once(recipe, tmp_path):
    path = recipe()
    (tmp_path / "reward.py").write_text(FAILS_IN_ONE)
    status, out, err = _command("copgkit", "run", path, "--processes", 2, "--output", tmp_path / "out", "--quiet")
    assert (status, out) == (2, "")
    assert err.count("the disk of this one is full") == 1
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_the_command_runs_in_two_processes_and_prints_once(recipe, tmp_path):
    alone, _, _ = _run(recipe(), tmp_path / "alone")
    words = ("copgkit", "run", recipe(), "--processes", 2, "--output", tmp_path / "out")
    status, out, err = _command(*words)
    assert status == 0, err
    assert out.splitlines()[-1] == str(tmp_path / "out")
    assert out.count(str(tmp_path / "out")) == 1
    _assert_same_weights(tmp_path / "out", alone)


LAUNCH = ("accelerate.commands.launch", "--num_processes", 2, "--num_machines", 1, "--mixed_precision", "no")
DIVIDED = ("--use_fsdp", "--fsdp_version", 2, "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [("--cpu",), DIVIDED], ids=["all weights", "FSDP2"])
def test_accelerate_launches_the_same_run(recipe, tmp_path, kind):
    alone, _, _ = _run(recipe(), tmp_path / "alone")
    launch = (*LAUNCH, *kind, "--main_process_port", 0, "--dynamo_backend", "no")
    status, out, err = _command(*launch, "-m", "copgkit", "run", recipe(), "--output", tmp_path / "out")
    assert status == 0, err
    assert out.count(str(tmp_path / "out")) == 1
    _assert_same_weights(tmp_path / "out", alone)


def _run_with_deepspeed(path, output, stage):
    os.environ.update(ACCELERATE_USE_DEEPSPEED="true", ACCELERATE_DEEPSPEED_ZERO_STAGE=str(stage), DS_ACCELERATOR="cpu")
    os.environ["LOCAL_SIZE"] = os.environ["WORLD_SIZE"]
    return _run(path, output)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_deepspeed_takes_the_steps_of_one_process(recipe, tmp_path, stage):
    pytest.importorskip("deepspeed")
    path = recipe(train={"tokens_per_forward": 32, "max_grad_norm": 0.1}, reference={"refresh_every": 2})
    alone, _, rows = _run(path, tmp_path / "alone")
    (tmp_path / "scores.sqlite").unlink()
    (folder, _, rows_together), _ = in_processes(2, _run_with_deepspeed, path, tmp_path / "together", stage)
    _assert_same_rows(rows_together, rows)
    _assert_same_weights(folder, alone)
