"""Shared prompts and log-probabilities without logits: equal to the plain way, in value and gradient, everywhere."""

import copy
from dataclasses import replace

import pytest
import torch
import transformers
from torch.nn import functional

from copgkit import Completion, Group, ModelError, Prompt
from copgkit.engine import shared_attention
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.codec import IntegerCodec
from copgkit.engine.log_probs import Forms, stretches
from copgkit.engine.objectives import Objective, all_pairs
from copgkit.engine.output_head import LogitMap, token_log_probs
from copgkit.engine.packing import Spans, TokenGroup, block_mask, flex_mask, pack_shared, who_sees_whom
from copgkit.engine.probing import choose_forms

CPU = torch.device("cpu")
PLAIN = Forms("separate", "full")
FAST = Forms("blocks", "slices", last="model.layers.1.mlp")
SIZES = {"vocab_size": 97, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
SIZES |= {"intermediate_size": 48, "max_position_embeddings": 64, "initializer_range": 0.3}
GROUPED = SIZES | {"num_key_value_heads": 2}
SHORT_HEADS = GROUPED | {"head_dim": 8}
GPT2 = {"vocab_size": 97, "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64, "initializer_range": 0.3}
BLOOM = {"vocab_size": 97, "n_layer": 2, "n_head": 4, "hidden_size": 32}
MODELS = {  # class, configuration, the way to attend that is expected of it
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED, "blocks"),
    "llama, tied head": ("LlamaForCausalLM", "LlamaConfig", GROUPED | {"tie_word_embeddings": True}, "blocks"),
    "qwen 2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED, "blocks"),
    "qwen 3": ("Qwen3ForCausalLM", "Qwen3Config", SHORT_HEADS, "blocks"),
    "mistral": ("MistralForCausalLM", "MistralConfig", GROUPED | {"sliding_window": None}, "blocks"),
    "mistral, window of 8": ("MistralForCausalLM", "MistralConfig", GROUPED | {"sliding_window": 8}, "mask"),
    "gpt-neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", SIZES, "blocks"),
    "gpt-2": ("GPT2LMHeadModel", "GPT2Config", GPT2, "blocks"),
    "bert as decoder": ("BertLMHeadModel", "BertConfig", SIZES | {"is_decoder": True}, "blocks"),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", SHORT_HEADS, "blocks"),
    "gemma 2, capped, window of 8": ("Gemma2ForCausalLM", "Gemma2Config", SHORT_HEADS | {"sliding_window": 8}, "mask"),
    "gemma 3, window of 8": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        SHORT_HEADS | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
        "mask",
    ),
    "cohere, scaled logits": ("CohereForCausalLM", "CohereConfig", GROUPED | {"logit_scale": 0.3}, "blocks"),
    "granite, divided logits": ("GraniteForCausalLM", "GraniteConfig", GROUPED | {"logits_scaling": 3.0}, "blocks"),
    "bloom": ("BloomForCausalLM", "BloomConfig", BLOOM, "separate"),
}


def make_model(name="llama", attention=None):
    model_class, config_class, sizes, _ = MODELS[name]
    torch.manual_seed(5)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**sizes)).eval()
    if attention is not None:
        model.set_attn_implementation(attention)
    return model


def make_policy(model=None, **options):
    options = {"max_prompt_tokens": 20, "max_completion_tokens": 20} | options
    return CausalLMPolicy(model or make_model(), IntegerCodec(stop_ids=(1,)), **options)


def group(prompt, *completions):
    prompt = Prompt(" ".join(map(str, prompt)))
    return Group(prompt, tuple(Completion(prompt, "", token_ids=tuple(ids)) for ids in completions))


GROUPS = [
    group([2, 3, 4], [5, 6, 1], [7, 1], [9, 9, 9, 9, 1]),
    group(range(20, 38), [10, 11, 12, 13, 14, 15, 1], [1]),
    group([8], [30, 31], [32], [33, 1], [34, 35, 36, 37, 38, 39, 40, 41, 1]),
]


def loss_and_gradients(policy, groups):
    logp_GK = policy.log_probs(groups)
    valid_GK = torch.tensor([[float(k < len(one.completions)) for k in range(logp_GK.shape[1])] for one in groups])
    reward_GK = valid_GK * torch.linspace(-1, 1, logp_GK.numel()).reshape(logp_GK.shape)
    loss_G = Objective("copg", beta=0.3)(
        logp_GK, 0.9 * logp_GK.detach(), reward_GK, valid_GK, all_pairs(valid_GK), policy.num_tokens(groups)
    )
    gradients = torch.autograd.grad(loss_G.sum(), list(policy.parameters()), allow_unused=True)
    return loss_G.detach(), [gradient for gradient in gradients if gradient is not None]


def assert_same_step(fast, plain):
    torch.testing.assert_close(fast[0], plain[0], rtol=1e-5, atol=0)
    assert len(fast[1]) == len(plain[1])
    largest = max(gradient.abs().max().item() for gradient in plain[1])
    for one, other in zip(fast[1], plain[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * largest)


# --- the golden test: loss and every gradient ------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_every_gradient_are_those_of_one_row_for_each_completion(name):
    policy = make_policy(make_model(name))
    assert policy.forms.attention == MODELS[name][3]
    assert policy.forms.head == "slices"
    assert (policy.forms.last is None) == (name in ("bert as decoder", "bloom"))
    assert not any(finding.disagrees for finding in policy.findings)
    fast = loss_and_gradients(policy, GROUPS)
    policy.forms = replace(PLAIN, window=policy.forms.window)
    assert_same_step(fast, loss_and_gradients(policy, GROUPS))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["llama", "gpt-2", "gpt-neox", "bert as decoder", "mistral, window of 8", "gemma"])
def test_a_block_mask_serves_eager_and_sdpa_attention(name, attention):
    policy = make_policy(make_model(name, attention))
    policy.forms = replace(policy.forms, attention="mask")
    fast = loss_and_gradients(policy, GROUPS)
    policy.forms = replace(PLAIN, window=policy.forms.window)
    assert_same_step(fast, loss_and_gradients(policy, GROUPS))


def test_in_float64_the_two_ways_agree_to_float64():
    policy = make_policy(make_model("gpt-2").double())
    assert policy.forms.attention == "blocks"
    fast = loss_and_gradients(policy, GROUPS)
    policy.forms = PLAIN
    plain = loss_and_gradients(policy, GROUPS)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)


def test_groups_of_equal_lengths_which_are_viewed_in_place_agree_too():
    policy = make_policy()
    even = [group([2, 3, 4], [5, 6, 1], [7, 8, 1]), group([5, 5, 5], [9, 6, 1], [2, 2, 2])]
    fast = loss_and_gradients(policy, even)
    policy.forms = PLAIN
    assert_same_step(fast, loss_and_gradients(policy, even))


def test_completions_of_one_token_feed_nothing():
    policy = make_policy()
    single = [group([2, 3, 4], [5], [7]), group([5, 5], [9], [1], [2])]
    assert policy.forward_tokens(single) == 5
    fast = loss_and_gradients(policy, single)
    policy.forms = PLAIN
    assert_same_step(fast, loss_and_gradients(policy, single))


def test_gradient_checkpointing_recomputes_the_same_blocks():
    policy, checkpointed = make_policy(), make_policy(gradient_checkpointing=True)
    assert checkpointed.forms.attention == "blocks"
    assert_same_step(loss_and_gradients(checkpointed, GROUPS), loss_and_gradients(policy, GROUPS))


def test_bfloat16_weights_take_the_fast_way_too():
    policy = make_policy(make_model().to(torch.bfloat16))
    assert policy.forms == FAST
    rough = policy.log_probs(GROUPS)
    policy.forms = PLAIN
    torch.testing.assert_close(rough, policy.log_probs(GROUPS), rtol=0.02, atol=0.3)


# --- the last layer --------------------------------------------------------------------------------------------------


@pytest.fixture
def tokens_of_layers(monkeypatch):
    """How many tokens the feed-forward part of each layer computed in each forward pass, by layer."""
    seen = []
    real = transformers.models.llama.modeling_llama.LlamaMLP.forward

    def forward(self, hidden):
        seen.append(hidden[..., 0].numel())
        return real(self, hidden)

    monkeypatch.setattr(transformers.models.llama.modeling_llama.LlamaMLP, "forward", forward)
    return seen


@pytest.mark.parametrize("attention", ["blocks", "mask", "separate"])
def test_the_last_feed_forward_part_computes_only_what_is_read(attention, tokens_of_layers):
    policy = make_policy()
    policy.forms = replace(policy.forms, attention=attention)
    tokens_of_layers.clear()
    policy.log_probs(GROUPS).sum().backward()
    repeated = attention == "separate"
    ends_of_prompts = sum(len(one.completions) if repeated else 1 for one in GROUPS)
    fed = sum(len(completion.token_ids) - 1 for one in GROUPS for completion in one.completions)
    assert tokens_of_layers[0] >= sum(policy.forward_tokens([one]) for one in GROUPS)
    assert tokens_of_layers[1:] == [ends_of_prompts + fed]


def test_what_recomputes_layers_finds_them_as_they_are(tokens_of_layers):
    policy = make_policy(gradient_checkpointing=True)
    tokens_of_layers.clear()
    policy.log_probs(GROUPS).sum().backward()
    assert len(tokens_of_layers) == 4
    assert len(set(tokens_of_layers)) == 1
    with torch.no_grad():  # as a reference, it gives the same digits whatever training does
        assert torch.equal(policy.log_probs(GROUPS), make_policy().log_probs(GROUPS))


def test_a_feed_forward_part_that_looks_at_other_tokens_stays_whole():
    model = make_model()

    class Mixing(torch.nn.Module):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def forward(self, hidden):
            return self.part(hidden) + 0.1 * hidden.cumsum(1)

    model.model.layers[-1].mlp = Mixing(model.model.layers[-1].mlp)
    forms, findings = choose_forms(model, CPU, 20, 20)
    assert forms == Forms("separate", "slices")
    assert any(finding.disagrees and "feed-forward" in finding.text for finding in findings)


# --- packing ---------------------------------------------------------------------------------------------------------


def test_a_pack_holds_each_prompt_once_and_positions_go_on_from_it():
    groups = [TokenGroup([7, 8], [[1, 2, 3], [4]]), TokenGroup([9], [[5, 6]])]
    row = pack_shared(groups, CPU, one_row=True)
    assert row.ids_RT.tolist() == [[7, 8, 1, 2, 9, 5]]
    assert row.position_RT.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert row.predictor_N.tolist() == [1, 2, 3, 1, 4, 5]
    assert row.target_N.tolist() == [1, 2, 3, 4, 5, 6]
    assert row.completion_N.tolist() == [0, 0, 0, 1, 2, 2]
    rows = pack_shared(groups, CPU, one_row=False)
    assert rows.ids_RT.tolist() == [[7, 8, 1, 2], [9, 5, 0, 0]]
    assert rows.segment_RT.tolist() == [[0, 0, 1, 1], [0, 1, -1, -1]]


def test_a_block_mask_shows_a_token_its_prompt_and_its_own_completion():
    pack = pack_shared([TokenGroup([7, 8], [[1, 2, 9], [4, 5, 9]])], CPU, one_row=False)
    seen = ["100000", "110000", "111000", "111100", "110010", "110011"]
    assert ["".join(str(int(one)) for one in row) for row in block_mask(pack)[0, 0]] == seen
    near = ["100000", "110000", "011000", "001100", "010010", "000011"]
    assert ["".join(str(int(one)) for one in row) for row in block_mask(pack, window=2)[0, 0]] == near


def test_spans_are_views_where_they_are_even_and_copies_where_not():
    value = torch.arange(12.0)
    even, uneven = Spans.of([1, 5, 9], [2, 2, 2], CPU), Spans.of([0, 4], [3, 1], CPU)
    assert even.take(value).tolist() == [[1, 2], [5, 6], [9, 10]]
    assert even.take(value).data_ptr() == value[1:].data_ptr()
    assert uneven.take(value).tolist() == [[0, 1, 2], [4, 4, 4]]
    assert uneven.take(value, filler=-1.0).tolist() == [[0, 1, 2], [4, -1, -1]]
    assert uneven.flat(uneven.take(value)).tolist() == [0, 1, 2, 4]
    for spans in (even, uneven):
        target = torch.zeros(12)
        spans.put(target, spans.take(value))
        spans.add(target, spans.take(value))
        assert target[spans.tokens].tolist() == (2 * value[spans.tokens]).tolist()
        assert target.sum() == 2 * value[spans.tokens].sum()


def test_stretches_take_as_many_neighbours_as_fit_and_one_at_least():
    sizes = [3, 3, 9, 1, 1, 1]
    fits = lambda some: sum(sizes[n] for n in some) <= 6  # noqa: E731
    assert [list(some) for some in stretches(len(sizes), fits)] == [[0, 1], [2], [3, 4, 5]]
    assert list(stretches(0, fits)) == []


@pytest.mark.parametrize("budget", [1, 7, 40, 10**6])
def test_stretches_are_those_of_asking_number_by_number_at_the_price_of_a_few_looks_at_each(budget):
    sizes = [1 + 7 * n % 11 for n in range(1_000)]
    looked_at = 0

    def fits(some):
        nonlocal looked_at
        looked_at += len(some)
        return len(some) * max(sizes[n] for n in some) <= budget  # rows as wide as the widest, as in a padded pass

    one_by_one, start = [], 0
    for end in range(1, len(sizes) + 1):
        if end == len(sizes) or (end + 1 - start) * max(sizes[start : end + 1]) > budget:
            one_by_one.append(range(start, end))
            start = end
    assert list(stretches(len(sizes), fits)) == one_by_one
    assert looked_at <= 12 * len(sizes)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 3])
def test_flex_attention_sees_what_the_block_mask_shows(window):
    from torch.nn.attention.flex_attention import create_mask, flex_attention

    groups = [TokenGroup([3, 4, 5, 6], [[7, 8, 1], [9, 10, 11, 1]]), TokenGroup([3, 4], [[5, 1], [6, 7, 1], []])]
    pack = pack_shared(groups, torch.device("cpu"), one_row=False)
    rows, width = pack.ids_RT.shape
    dense = block_mask(pack, window)
    assert torch.equal(create_mask(who_sees_whom(pack, window), rows, None, width, width, device="cpu"), dense)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, rows, 2, width, 16)
    found = flex_attention(query, key, value, block_mask=flex_mask(pack, window))
    torch.testing.assert_close(found, functional.scaled_dot_product_attention(query, key, value, attn_mask=dense))


def test_flex_attention_is_refused_where_it_has_no_gradients(tiny_policy_folder):
    with pytest.raises(ModelError, match=r"policy\.attention: flex_attention gives no gradients on a CPU"):
        CausalLMPolicy.load(str(tiny_policy_folder), attention="flex_attention")


# --- the output head -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept_size", [0, 10**6])
@pytest.mark.parametrize("slice_size", [10, 300 * 9, 10**6])
@pytest.mark.parametrize("logit_map", [LogitMap(), LogitMap(scale=0.3), LogitMap(softcap=2.0), LogitMap(3.0, 1.5)])
def test_slices_of_the_vocabulary_give_the_log_softmax_and_its_gradients(slice_size, kept_size, logit_map):
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(9, 5), torch.randn(700, 5), torch.randn(700)
    inputs = [tensor.double().requires_grad_() for tensor in (hidden, weight, bias)]
    target, slope = torch.tensor([0, 699, 255, 256, 300, 5, 5, 512, 1]), torch.randn(9).double()
    logits = logit_map.scale * functional.linear(*inputs)
    if logit_map.softcap:
        logits = logit_map.softcap * torch.tanh(logits / logit_map.softcap)
    wanted = logits.log_softmax(-1)[torch.arange(9), target]
    options = {"with_entropy": True, "slice_size": slice_size, "kept_size": kept_size}
    found, entropy = token_log_probs(*inputs, target, logit_map, **options)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=logits.detach()).entropy())
    assert not entropy.requires_grad
    gradients = [torch.autograd.grad((one * slope).sum(), inputs) for one in (found, wanted)]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_frozen_head_is_given_no_gradient():
    hidden, weight = torch.randn(4, 5, requires_grad=True), torch.randn(30, 5)
    logp_N, _ = token_log_probs(hidden, weight, None, torch.tensor([1, 2, 3, 4]), LogitMap())
    logp_N.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_the_largest_tensor_does_not_grow_with_tokens_times_vocabulary():
    largest = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            tensors = [one for one in (result if isinstance(result, tuple) else (result,)) if torch.is_tensor(one)]
            largest.append(max((one.numel() for one in tensors), default=0))
            return result

    hidden, weight = torch.randn(200, 4, requires_grad=True), torch.randn(4000, 4, requires_grad=True)
    with Watch():
        logp_N, _ = token_log_probs(hidden, weight, None, torch.arange(200), LogitMap(), slice_size=60_000, kept_size=0)
        logp_N.sum().backward()
    assert max(largest) <= 60_000 < 200 * 4000


def test_entropies_are_those_of_the_next_token_distributions():
    policy = make_policy()
    logp_GK, entropy_GK = policy.log_probs_and_entropies(GROUPS[:1])
    torch.testing.assert_close(logp_GK, policy.log_probs(GROUPS[:1]))
    logits = policy.model(torch.tensor([[2, 3, 4, 5, 6]])).logits[0, 2:]
    wanted = torch.distributions.Categorical(logits=logits).entropy().sum()
    assert entropy_GK[0, 0].item() == pytest.approx(wanted.item(), rel=1e-5)
    policy.forms = replace(policy.forms, head="narrow")
    (_, narrow_GK), (_, whole_GK) = (one.log_probs_and_entropies(GROUPS) for one in (policy, make_policy()))
    torch.testing.assert_close(narrow_GK, whole_GK, rtol=1e-5, atol=1e-5)


# --- the probe -------------------------------------------------------------------------------------------------------


def test_a_fast_way_that_gives_other_numbers_is_not_used_and_its_figures_are_told(monkeypatch):
    honest = shared_attention._SharedAttention.apply
    wrong = staticmethod(lambda *given: honest(*given) * 1.01)
    monkeypatch.setattr(shared_attention._SharedAttention, "apply", wrong)
    model = make_model()
    forms, findings = choose_forms(model, CPU, 20, 20)
    assert forms.attention == "mask"
    assert model.config._attn_implementation == "sdpa"
    (finding,) = (one for one in findings if one.disagrees)
    assert finding.text.startswith("'blocks' gives other numbers than the plain way: log-probabilities differ by")


def test_a_wrong_gradient_alone_is_found_too(monkeypatch):
    honest = shared_attention._backward
    monkeypatch.setattr(
        shared_attention, "_backward", lambda *given, **more: [0.9 * one for one in honest(*given, **more)]
    )
    forms, findings = choose_forms(make_model(), CPU, 20, 20)
    assert forms.attention == "mask"
    assert any(finding.disagrees for finding in findings)


def test_the_probe_leaves_no_gradient_and_the_random_state_as_it_was():
    model = make_model()
    before = torch.get_rng_state()
    choose_forms(model, CPU, 20, 20)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_frozen_model_is_probed_without_gradients():
    forms, _ = choose_forms(make_model().requires_grad_(False), CPU, 20, 20)
    assert forms == FAST


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_a_group_beyond_the_budget_is_split_without_gradient_too():
    policy = make_policy()
    with torch.no_grad():
        wanted = policy.log_probs(GROUPS)
        policy.tokens_per_forward = 8
        torch.testing.assert_close(policy.log_probs(GROUPS), wanted, rtol=1e-5, atol=1e-5)


def test_the_default_budget_has_room_for_the_longest_completion():
    assert make_policy().tokens_per_forward == 4096
    long = copy.deepcopy(SIZES) | {"max_position_embeddings": 9000}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**long))
    assert make_policy(model, max_prompt_tokens=8000).tokens_per_forward == 8020
