"""What is in memory when: offline, reward models and the reference leave it before the policy's optimiser is made."""

from __future__ import annotations

import gc
import shutil

import pytest
import torch
import yaml

import copgkit
from copgkit import Completion, Context, Group, ModelError, Progress, Prompt
from copgkit.engine.on_demand import OnDemand
from copgkit_nli.source import Entailment
from copgkit_reward_model.classifier import Classifier
from copgkit_reward_model.source import RewardModel

POSTS = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Listening(Progress):
    """Keeps the messages."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def message(self, text):
        self.messages.append(text)


@pytest.fixture
def recipe(tmp_path, tiny_policy_folder, tiny_reward_folder, write_jsonl):
    """Writes a recipe with a reward model, changed as the test asks, and gives its path."""

    def write(**sections):
        write_jsonl("posts.jsonl", POSTS)
        prompts = {"use": "jsonl", "options": {"path": "posts.jsonl"}}
        data = {
            "policy": {"model": str(tiny_policy_folder), "max_prompt_tokens": 16, "max_completion_tokens": 6},
            "prompts": prompts,
            "sampler": {"use": "reference", "options": {"completions_per_prompt": 3}},
            "rewards": [{"use": "reward-model", "options": {"model": str(tiny_reward_folder)}}],
            "scoring": {"store": None},
            "train": {"epochs": 2, "groups_per_step": 2, "learning_rate": 0.003},
            "evaluate": {"every": 2, "prompts": prompts, "with": [{"use": "reward-summary"}, {"use": "kl"}]},
        } | sections
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


def alive():
    """How many policies and reward models have their weights in memory."""
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification

    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    return kinds.count(LlamaForCausalLM), kinds.count(LlamaForSequenceClassification)


@pytest.fixture
def seen(monkeypatch):
    """What was alive when an optimiser was made, beyond what was before; and how often a reward model was loaded."""
    make, load = torch.optim.AdamW.__init__, Classifier.load
    seen = {"at the optimiser": [], "loads": 0}
    before = alive()

    def making(self, *arguments, **more):
        seen["at the optimiser"].append(tuple(now - then for now, then in zip(alive(), before, strict=True)))
        make(self, *arguments, **more)

    def loading(*arguments):
        seen["loads"] += 1
        return load(*arguments)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", making)
    monkeypatch.setattr(Classifier, "load", loading)
    return seen


def outcome(result):
    return (result.folder / "model/model.safetensors").read_bytes(), result.rows


def test_offline_the_policy_alone_is_in_memory_when_its_optimiser_is_made(recipe, tmp_path, seen, monkeypatch):
    progress = Listening()
    result = copgkit.run(recipe(), output=tmp_path / "out", progress=progress)
    assert seen["at the optimiser"] == [(1, 0)]
    assert seen["loads"] == 3, "before training, in its middle, and after it"
    (told,) = [text for text in progress.messages if text.startswith("train:")]
    assert told.endswith("released until an evaluation asks: the reference, reward-model")

    monkeypatch.setattr(OnDemand, "release", lambda self: [])
    monkeypatch.setattr(RewardModel, "release", lambda self: None)
    kept = copgkit.run(recipe(), output=tmp_path / "kept")
    assert seen["at the optimiser"][1] == (2, 1)
    assert outcome(kept) == outcome(result)


def test_a_reference_that_moves_stays_and_the_original_leaves(recipe, tmp_path, seen):
    path = recipe(reference={"refresh_every": 3}, evaluate={})
    copgkit.run(path, output=tmp_path / "out")
    assert seen == {"at the optimiser": [(2, 0)], "loads": 1}


def test_fresh_rounds_keep_everything_at_hand(recipe, tmp_path, seen):
    train = {"steps": 2, "groups_per_step": 2}
    copgkit.run(recipe(sampler={"use": "policy"}, train=train, evaluate={}), output=tmp_path / "out")
    assert seen == {"at the optimiser": [(2, 1)], "loads": 1}


def test_what_was_released_is_loaded_once_when_it_is_asked_again(tiny_policy_folder):
    from copgkit.engine.causal_lm import CausalLMPolicy

    loads = []

    def load():
        loads.append(CausalLMPolicy.load(str(tiny_policy_folder), max_prompt_tokens=16, max_completion_tokens=8))
        return loads[-1]

    prompt = Prompt("the cat")
    group = Group(prompt, (Completion(prompt, "sat"), Completion(prompt, "ran on")))
    policy = OnDemand(load(), load)
    before = policy.log_probs([group])
    assert policy.release() == ["the reference"]
    policy.release()
    assert len(loads) == 1
    assert torch.equal(policy.log_probs([group]), before)
    assert len(loads) == 2
    kept = OnDemand(loads[0])
    assert kept.release() == []
    assert kept.policy is loads[0]


@pytest.fixture
def hub_cache(tmp_path, tiny_reward_folder, monkeypatch):
    """A hub cache that holds the tiny reward model under owner/judge, at one commit."""
    import huggingface_hub

    model = tmp_path / "hub" / "models--owner--judge"
    shutil.copytree(tiny_reward_folder, model / "snapshots" / COMMIT)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("source", [RewardModel, Entailment])
def test_the_commit_of_a_hub_model_is_known_without_loading_it(source, hub_cache, monkeypatch):
    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_pretrained", pytest.fail)
    named = source(source.Options(model="owner/judge"), Context("judge"))
    assert named.fingerprint().endswith(f":{COMMIT}")


def test_a_commit_is_looked_up_where_loading_looks(hub_cache):
    judge = RewardModel(RewardModel.Options(model="owner/judge"), Context("judge"))
    assert judge.score([Completion(Prompt("the cat"), "sat")])[0].is_finite
    assert Context().commit("owner/judge") == COMMIT
    assert Context().commit("owner/judge", COMMIT) == COMMIT
    assert Context().commit("owner/judge", "another") is None
    assert Context().commit("owner/unknown") is None
    with pytest.raises(ModelError, match=r"'judge': the model 'owner/unknown' cannot be loaded"):
        RewardModel(RewardModel.Options(model="owner/unknown"), Context("judge")).fingerprint()


def test_a_folder_has_no_commit(tmp_path):
    (tmp_path / "owner" / "judge").mkdir(parents=True)
    assert Context(folder=tmp_path).commit("owner/judge") is None
