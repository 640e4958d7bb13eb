"""Adapters: the base model beside them is the reference, and what is saved is what was trained."""

import sys

import pytest
import torch
import yaml

import copgkit
from copgkit import Completion, GenerationSettings, Group, ModelError, Prompt, RecipeError
from copgkit.engine import loading, lora
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.codec import IntegerCodec

SIZES = {"vocab_size": 23, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
SIZES |= {"max_position_embeddings": 40, "initializer_range": 0.4}
PROMPTS = [Prompt("2 3 4"), Prompt("8")]
GROUPS = [Group(prompt, (Completion(prompt, "5 6"), Completion(prompt, "9 10 11"))) for prompt in PROMPTS]


def _llama(**more):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SIZES | more))


def _gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=23, n_layer=2, n_head=2, n_embd=16, n_positions=40))


def _policy(make=_llama, target="all-linear", seed=0):
    torch.manual_seed(3)
    model = make()
    lora.attach(model, rank=4, alpha=8, target=target, base="base", seed=seed)
    return CausalLMPolicy(model, IntegerCodec(stop_ids=(1,)), max_prompt_tokens=20, max_completion_tokens=20)


def _train_a_little(policy):
    """Moves every adapter away from 0."""
    generator = torch.Generator().manual_seed(1)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)


def _log_probs(policy):
    with torch.no_grad():
        return policy.log_probs(GROUPS)


@pytest.mark.parametrize("make", [_llama, _gpt2])
def test_the_reference_is_the_base_model_and_takes_no_memory(make):
    torch.manual_seed(3)
    plain = CausalLMPolicy(make(), IntegerCodec(stop_ids=(1,)), max_prompt_tokens=20, max_completion_tokens=20)
    policy = _policy(make)
    reference = policy.frozen_copy()
    assert torch.equal(_log_probs(policy), _log_probs(plain))
    _train_a_little(policy)
    assert torch.equal(_log_probs(reference), _log_probs(plain))
    assert (_log_probs(policy) - _log_probs(plain)).abs().min() > 1e-3
    shared = {parameter.data_ptr() for parameter in policy.parameters()}
    assert all(parameter.data_ptr() in shared for parameter in reference.parameters())
    settings = GenerationSettings(seed=5)
    assert reference.generate(PROMPTS, 3, settings) == plain.generate(PROMPTS, 3, settings)
    assert policy.generate(PROMPTS, 3, settings) != plain.generate(PROMPTS, 3, settings)


def test_only_adapters_are_trained_also_after_the_reference_was_asked():
    policy = _policy()
    _log_probs(policy.frozen_copy())
    trained = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".lora_" in name for name in trained)
    assert sum(".lora_" in name for name, _ in policy.model.named_parameters()) == len(trained)
    policy.log_probs(GROUPS).sum().backward()
    assert all(parameter.grad is None for parameter in policy.parameters() if not parameter.requires_grad)


def test_a_frozen_copy_of_trained_adapters_is_a_model_of_its_own():
    policy = _policy()
    _train_a_little(policy)
    before = _log_probs(policy)
    frozen = policy.frozen_copy()
    _train_a_little(policy)
    assert torch.equal(_log_probs(frozen), before)
    assert not torch.equal(_log_probs(policy), before)


def test_what_an_adapter_starts_with_depends_on_the_seed_alone():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    starts = []
    for seed in (0, 0, 1):
        torch.manual_seed(11 + len(starts))
        model = _llama()
        torch.set_rng_state(state)
        lora.attach(model, rank=4, alpha=8, target=["q_proj"], base="base", seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        starts.append(model.model.layers[0].self_attn.q_proj.lora_A["default"].weight.detach())
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize("make", [_llama, _gpt2, lambda: _llama(tie_word_embeddings=True)])
def test_a_saved_model_needs_no_peft_and_a_saved_adapter_gives_the_same(make, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    policy = _policy(make)
    torch.manual_seed(3)
    make().save_pretrained(tmp_path / "base")
    _train_a_little(policy)
    policy.save(tmp_path / "model")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert not lora.is_attached(whole)
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    ours, *others = (
        model.eval()(ids).logits
        for model in (
            policy.model,
            whole,
            PeftModel.from_pretrained(
                AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "model" / lora.ADAPTER
            ),
        )
    )
    for other in others:
        torch.testing.assert_close(other, ours, rtol=1e-4, atol=1e-5)


def test_targets_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match=r"policy\.lora\.target: .*'nothing'.* does not fit this model"):
        _policy(target=["nothing"])
    with pytest.raises(ModelError, match=r"policy\.lora\.target: model\.embed_tokens is an embedding"):
        _policy(target=["embed_tokens"])
    with pytest.raises(ModelError, match=r"policy\.lora\.target: lm_head is an embedding, or an output head"):
        _policy(lambda: _llama(tie_word_embeddings=True), target=["q_proj", "lm_head"])


def test_without_peft_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"policy\.lora: adapters need the package peft.*copgkit\[peft\]"):
        _policy()


@pytest.fixture
def recipe(tmp_path, tiny_policy_folder, write_jsonl):
    """Writes a recipe that trains adapters, changed as the test asks."""

    def write(**sections):
        write_jsonl("posts.jsonl", [{"prompt": f"the {animal} sat on the mat :"} for animal in ("cat", "dog", "hill")])
        (tmp_path / "reward.py").write_text("def score(completion):\n    return float(completion.count('cat'))\n")
        data = {
            "policy": {
                "model": str(tiny_policy_folder),
                "max_prompt_tokens": 16,
                "max_completion_tokens": 8,
                "lora": {"rank": 2, "alpha": 4},
            },
            "prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}},
            "sampler": {"use": "reference", "options": {"completions_per_prompt": 6}},
            "rewards": [{"use": "python", "options": {"file": "reward.py"}}],
            "objective": {"use": "copg", "beta": 0.2},
            "train": {"epochs": 3, "groups_per_step": 2, "learning_rate": 0.05, "warmup": 0.0},
            "evaluate": {"prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}}, "with": [{"use": "kl"}]},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(data | sections, sort_keys=False))
        return path

    return write


def test_a_run_with_adapters_leaves_a_model_and_says_how_far_it_went(recipe, tmp_path, tiny_policy_folder):
    from transformers import AutoModelForCausalLM

    result = copgkit.run(recipe(), output=tmp_path / "out")
    after = AutoModelForCausalLM.from_pretrained(result.folder / "model").state_dict()
    before = AutoModelForCausalLM.from_pretrained(tiny_policy_folder).state_dict()
    changed = {name.split(".")[-2] for name in before if not torch.equal(after[name], before[name])}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert (result.folder / "model/adapter/adapter_model.safetensors").exists()
    rows = [row for row in result.rows if "eval/kl/mean" in row]
    assert rows[0]["eval/kl/mean"] == 0
    assert rows[-1]["eval/kl/mean"] != 0


def test_settings_that_do_not_go_with_adapters_are_refused(recipe):
    with pytest.raises(RecipeError, match=r"reference\.refresh_every: with policy\.lora the reference is the model"):
        copgkit.run(recipe(reference={"refresh_every": 2}))
    with pytest.raises(RecipeError, match=r"policy\.quantise: weights of four bits cannot be trained"):
        copgkit.run(recipe(), set={"policy.lora": None, "policy.quantise": "4bit"})


def test_four_bits_are_refused_on_a_cpu_and_without_their_library(tiny_policy_folder, monkeypatch):
    def load(device):
        loading.load_module(str(tiny_policy_folder), None, "bfloat16", None, False, device, "4bit")

    with pytest.raises(ModelError, match=r"policy\.quantise: .* need a GPU"):
        load("cpu")
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"policy\.quantise: it needs the package bitsandbytes"):
        load("cuda")
