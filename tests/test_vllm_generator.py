"""`copgkit sample --generator vllm` as a process, with a stand-in for vLLM: what it is asked, and what is written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from copgkit import GenerationSettings, Prompt, sample_groups
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.loading import load_codec
from copgkit.engine.vllm_generator import VllmGenerator

STAND_IN = Path(__file__).parent / "vllm_stand_in.py"
PROMPTS = ["the cat sat", "a dog ran on the hill", "the cat sat", "the " * 30]
RECIPE = """\
seed: 3
policy: {{model: {folder}, max_prompt_tokens: 20, max_completion_tokens: 6}}
prompts: {{use: jsonl, options: {{path: posts.jsonl}}}}
sampler: {{use: reference, options: {{completions_per_prompt: 4}}}}
rewards: [{{use: length, options: {{maximum: 5}}}}]
"""


@pytest.fixture
def world(tmp_path, tiny_policy_folder):
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    (tmp_path / "r.yaml").write_text(RECIPE.format(folder=tiny_policy_folder))
    (tmp_path / "stand-in").mkdir()
    shutil.copy(STAND_IN, tmp_path / "stand-in" / "vllm.py")
    return tmp_path


def sample_in_a_process(world):
    command = [sys.executable, "-m", "copgkit", "sample", "r.yaml", "-o", "groups.jsonl", "--generator", "vllm", "-q"]
    surroundings = os.environ | {"CALLS": "calls.jsonl", "PYTHONPATH": str(world / "stand-in")}
    return subprocess.run(command, cwd=world, env=surroundings, capture_output=True, text=True, timeout=600)


@pytest.fixture
def sample(world, copgkit_command, monkeypatch):
    """sample() -> exit status, standard output, standard error; in this process."""
    monkeypatch.setenv("CALLS", str(world / "calls.jsonl"))
    monkeypatch.syspath_prepend(str(world / "stand-in"))
    monkeypatch.delitem(sys.modules, "vllm", raising=False)

    def call(output="groups.jsonl"):
        return copgkit_command("sample", world / "r.yaml", "-o", world / output, "--generator", "vllm", "--quiet")

    yield call
    sys.modules.pop("vllm", None)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_groups_of_vllm_are_written_with_their_ids_and_read_like_any_other(world, tiny_policy_folder):
    done = sample_in_a_process(world)
    assert done.returncode == 0, done.stderr
    assert "1 groups have fewer than two completions" in done.stderr  # the long prompt, which vLLM is never asked
    engine, *calls = read(world / "calls.jsonl")
    assert engine == {"model": str(tiny_policy_folder), "dtype": "float32", "max_model_len": 26}
    policy = CausalLMPolicy.load(str(tiny_policy_folder), max_prompt_tokens=20, max_completion_tokens=6)
    prompt_ids = [list(policy.codec.prompt_ids(Prompt(text))) for text in PROMPTS[:3]]
    assert [call["prompt_token_ids"] for call in calls] == [prompt_ids[0], prompt_ids[2], prompt_ids[1]]
    assert {(call["n"], call["max_tokens"], call["stop"]) for call in calls} == {(4, 6, None)}
    assert len({call["seed"] for call in calls}) == 3  # also for the prompt that comes twice
    rows = read(world / "groups.jsonl")
    assert [row["prompt"] for row in rows] == PROMPTS[:3]
    (end,) = policy.codec.stop_ids
    for completion in (one for row in rows for one in row["completions"]):
        assert completion.get("finished", True) == (completion["token_ids"][-1] == end)
        assert completion["text"] == policy.codec.text(completion["token_ids"])
    assert {one.get("finished", True) for row in rows for one in row["completions"]} == {True, False}


def test_the_same_seed_writes_the_same_file(world, sample):
    assert [sample(name)[0] for name in ("one.jsonl", "two.jsonl")] == [0, 0]
    assert (world / "one.jsonl").read_text() == (world / "two.jsonl").read_text()


def test_without_vllm_the_command_says_what_to_install(sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    status, _, told = sample()
    assert status == 2
    assert told.startswith("--generator vllm: vLLM cannot be imported (")
    assert told.endswith(
        "). Install copgkit's extra `vllm` where there is a GPU that vLLM supports, or leave the option out.\n"
    )


@pytest.mark.parametrize(
    ("fault", "said"),
    [("unreadable", "vLLM could not load "), ("no stop ids", "ended by 'stop', and its ids do not end with a stop")],
)
def test_what_vllm_cannot_do_is_said_and_no_file_is_left(world, sample, monkeypatch, fault, said):
    monkeypatch.setenv("FAULT", fault)
    status, _, told = sample()
    assert (status, said in told) == (2, True)
    assert not (world / "groups.jsonl").exists()


def test_a_tabular_policy_is_refused(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "which?"}\n')
    (tmp_path / "r.yaml").write_text(
        "policy: {use: tabular, arms: [a, b]}\nprompts: {use: jsonl, options: {path: p.jsonl}}\n"
        "sampler: {use: reference}\nrewards: [{use: length, options: {maximum: 5}}]\n"
    )
    with pytest.raises(Exception, match="the policy is tabular, which vLLM does not know"):
        sample_groups(tmp_path / "r.yaml", tmp_path / "g.jsonl", generator="vllm")


def test_a_stop_string_ends_the_text_and_stays_in_the_ids(tiny_policy_folder):
    class Engine:
        def generate(self, prompts, parameters, use_tqdm):
            assert parameters[0]["stop"] == ["."]
            written = type("Written", (), {"token_ids": codec.text_ids("the cat ."), "finish_reason": "stop"})
            return [type("Output", (), {"outputs": [written]})]

    codec = load_codec(str(tiny_policy_folder), None, None, None, False)
    generator = VllmGenerator(Engine(), dict, codec, 20, 6, ["."])
    ((completion,),) = generator.generate([Prompt("the dog")], 1, GenerationSettings())
    assert (completion.text.strip(), completion.finished) == ("the cat", True)
    assert completion.token_ids == codec.text_ids("the cat .")
