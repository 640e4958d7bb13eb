"""Decoding over shared prompts: token for token what copies of the prompt give, on every architecture that takes it."""

import pytest
import torch
from test_causal_lm import ARCHITECTURES, EOS, SIZES, make_policy
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from copgkit import GenerationSettings, Prompt
from copgkit.assembly import Assembly
from copgkit.engine import shared_decoding
from copgkit.engine.cache import SharedLayer
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.codec import IntegerCodec
from copgkit.engine.decoding import Way, find_way
from copgkit.engine.sampling import choose
from copgkit.engine.shared_decoding import Grid, SharedDecoder
from copgkit.progress import Progress
from copgkit.recipe import load_recipe

HEADS = SIZES | {"num_attention_heads": 4, "head_dim": 8, "pad_token_id": 0}
OTHERS = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, num_key_value_heads=1)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**HEADS, num_key_value_heads=2)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**HEADS, num_key_value_heads=2, sliding_window=None)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**HEADS, num_key_value_heads=1)),
}
COPYING = {
    "mistral with a window": lambda: MistralForCausalLM(
        MistralConfig(**HEADS, num_key_value_heads=2, sliding_window=4)
    ),
    "gemma 2": lambda: Gemma2ForCausalLM(Gemma2Config(**HEADS, num_key_value_heads=2, sliding_window=4)),
    "state space and attention": lambda: Qwen3NextForCausalLM(
        Qwen3NextConfig(
            **(HEADS | {"num_hidden_layers": 4}),
            num_key_value_heads=2,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            num_experts=0,
        )
    ),
}
PROMPTS = [Prompt(text) for text in ("2 3 4", "8", "5 6 7 9 10 11 12", "13 14", "15 16 17", "8 8 8 8 8 8 8 8 8 8")]


def policy_of(architecture):
    torch.manual_seed(3)
    module = (ARCHITECTURES | OTHERS | COPYING)[architecture]()
    return CausalLMPolicy(module, IntegerCodec((EOS,)), max_prompt_tokens=20, max_completion_tokens=20)


def samples(policy, settings=GenerationSettings(seed=2), per_prompt=5):  # noqa: B008
    return [[one.token_ids for one in row] for row in policy.generate(PROMPTS, per_prompt, settings)]


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *OTHERS])
def test_both_ways_write_the_same_tokens(architecture):
    policy = policy_of(architecture)
    assert policy.way.shared, str(policy.way)
    shared = samples(policy)
    assert len({len(ids) for row in shared for ids in row}) > 5  # rows leave at all times
    policy.way = Way(False)
    assert samples(policy) == shared


@pytest.mark.parametrize("architecture", COPYING)
def test_other_kinds_of_cache_are_copied_for_every_row(architecture):
    policy = policy_of(architecture)
    assert not policy.way.shared
    assert not policy.way.disagrees
    assert str(policy.way).startswith("generation: every completion has a copy of its prompt's keys and values, since ")
    assert policy.way.reason
    together = samples(policy)
    policy.rows_per_batch = 1
    assert samples(policy) == together


def test_a_probe_that_disagrees_falls_back_and_warns_with_the_figure(monkeypatch, tiny_policy_folder, tmp_path):
    right = SharedDecoder._attend
    monkeypatch.setattr(SharedDecoder, "_attend", lambda *given, **options: (right(*given, **options)[0] * 1.01, None))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"policy: {{model: {tiny_policy_folder}}}\nprompts: {{use: jsonl, options: {{path: p.jsonl}}}}\n"
        "sampler: {use: reference}\nrewards: [{use: length, options: {maximum: 5}}]\n"
    )
    progress = Progress()
    policy = Assembly(
        load_recipe(recipe, {"policy.max_prompt_tokens": 60, "policy.max_completion_tokens": 60}), progress
    ).policy()
    assert policy.way.disagrees
    (warning,) = progress.warnings
    assert f"differ from plain forward passes by {policy.way.gap:.2g}" in warning
    assert 1e-4 < policy.way.gap < 1


def test_a_module_that_attends_otherwise_falls_back():
    class Fails(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module, self.config = module, module.config

        def forward(self, **given):
            if given["input_ids"].shape[1] == 1:
                raise RuntimeError("no single tokens")
            return self.module(**given)

    way = find_way(Fails(make_policy().model), torch.device("cpu"), narrow=False)
    assert not way.shared
    assert "no single tokens" in str(way)


@pytest.mark.parametrize("tokens_per_forward", [1, 9, 10_000])
def test_prompts_read_in_parts_give_the_same_completions(tokens_per_forward):
    policy = policy_of("llama")
    wanted = samples(policy)
    policy.tokens_per_forward = tokens_per_forward
    assert samples(policy) == wanted


def test_generation_leaves_attention_as_it_was():
    policy = policy_of("llama")
    before, known = policy.model.config._attn_implementation, set(ALL_ATTENTION_FUNCTIONS)
    policy.generate(PROMPTS, 2, GenerationSettings())
    assert policy.model.config._attn_implementation == before
    assert set(ALL_ATTENTION_FUNCTIONS) == known


def test_the_prompts_of_a_group_are_read_once_and_kept_once(monkeypatch):
    policy = policy_of("llama")
    held, read = [], []
    after = SharedDecoder.after.__func__

    def spy(cls, module, prompts, *rest):
        decoder, logits = after(cls, module, prompts, *rest)
        held.append(decoder._layers[0].prompt_keys.shape[:1].numel())
        read.append(len(prompts))
        return decoder, logits

    monkeypatch.setattr(SharedDecoder, "after", classmethod(spy))
    policy.generate(PROMPTS, 7, GenerationSettings())
    assert held == read == [len(PROMPTS)]


def test_of_a_prompt_the_last_feed_forward_part_computes_the_last_token_only():
    policy, tokens = policy_of("llama"), {"first": [], "last": []}
    for which, layer in (("first", policy.model.model.layers[0]), ("last", policy.model.model.layers[-1])):
        layer.mlp.gate_proj.register_forward_hook(
            lambda part, given, output, which=which: tokens[which].append(output.shape[:-1].numel())
        )
    samples(policy, per_prompt=2)
    longest = max(len(policy.codec.prompt_ids(prompt)) for prompt in PROMPTS)
    assert tokens["first"][0] == longest * len(PROMPTS)
    assert tokens["last"][0] == len(PROMPTS)
    steps = slice(1, -1)  # after the prompts, before the pass that is compared with what was written
    assert tokens["first"][steps] == tokens["last"][steps]
    assert len(tokens["last"]) > 5


def test_prompts_whose_rows_have_ended_are_dropped():
    policy = policy_of("llama")
    decoder, _ = SharedDecoder.after(
        policy.model, [[2, 3], [4], [5, 6, 7]], (2, 2, 2), policy.device, policy._narrow, 100
    )
    decoder.read(torch.zeros(6, dtype=torch.long))
    decoder.keep(torch.tensor([0, 1, 5]))
    assert decoder._layers[1].prompt_keys.shape[0] == 2
    decoder.keep(torch.tensor([1, 2]))
    logits = decoder.read(torch.tensor([8, 9]))
    for row, ids in zip(logits, ([2, 3, 0, 8], [5, 6, 7, 0, 9]), strict=True):
        torch.testing.assert_close(row, policy.model(torch.tensor([ids])).logits[0, -1], atol=1e-5, rtol=1e-5)


def test_a_row_s_own_keys_and_values_stay_as_written_and_close_together():
    prompts, rows = torch.randn(2, 3, 5, 4), 6  # 3 heads of 4
    layer, wanted = SharedLayer(prompts, prompts, rows), torch.empty(6, 3, 0, 4)
    for token in range(30):
        if token in (0, 7, 8, 20):
            left = torch.arange(rows)[torch.arange(rows) != 1]
            layer.keep(left, None)
            wanted, rows = wanted[left], rows - 1
        new = torch.randn(rows, 3, 1, 4)
        keys, values = layer.update(new, -new)
        wanted = torch.cat([wanted, new], dim=2)
        assert torch.equal(keys, wanted)
        assert torch.equal(values, -wanted)
        assert keys.stride(1) // 4 <= token + 1 + 3  # tokens from one head's first to the next one's
    assert torch.equal(layer.prompt_keys, prompts)
    assert layer.get_seq_length() == 5 + 30


@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 0, 1), (0, 1), (1, 4, 2)])
def test_rows_go_into_the_table_of_their_prompts_and_come_out_as_they_were(counts):
    grid = Grid.of(counts, torch.device("cpu"))
    value = torch.arange(sum(counts) * 2 * 3 * 5.0).view(sum(counts), 2, 3, 5)
    table = grid.table(value)
    assert table.shape == (len(counts), 2, max(counts) * 3, 5)
    assert torch.equal(grid.rows(table, queries=3), value)
    start = sum(counts[:-1])
    assert torch.equal(table[-1, 0, :3], value[start, 0])


@pytest.mark.parametrize("seed", range(3))
def test_a_nucleus_is_found_among_the_likeliest_as_by_sorting_all(seed, monkeypatch):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(40, 300, generator=generator) * 4).round()  # many ties
    uniform = torch.rand(40, dtype=torch.float64, generator=generator)
    from copgkit.engine import sampling

    wanted = choose(logits, uniform, 1.0, 0.9)[0]
    for enough in (2, 20, 100):
        monkeypatch.setattr(sampling, "_ENOUGH", enough)
        assert torch.equal(choose(logits, uniform, 1.0, 0.9)[0], wanted)
    monkeypatch.setattr(sampling, "_NUMBERS_AT_ONCE", 700)
    assert torch.equal(choose(logits, uniform, 1.0, 0.9)[0], wanted)


def test_attention_with_a_soft_cap_is_not_taken_for_plain():
    policy = policy_of("llama")
    decoder, _ = SharedDecoder.after(policy.model, [[2]], (1,), policy.device, policy._narrow, 100)
    with pytest.raises(shared_decoding.NotShareable):
        decoder._attend(policy.model, torch.zeros(1, 2, 1, 8), None, None, None, softcap=30.0)
