"""The language-model policy: its log-probabilities against a slow computation, and what is and is not cut."""

from pathlib import Path

import pytest
import torch
from conftest import tiny_tokenizer

from copgkit import Completion, DataError, GenerationSettings, Group, ModelError, Prompt
from copgkit.engine.causal_lm import CausalLMPolicy, Limits
from copgkit.engine.loading import Text

V = 25
REAL_POLICY = Path(__file__).parents[2] / "shared/models/reddit-policy"


def _llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, attention_dropout=0.5,
        )
    )  # fmt: skip


def _gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=64))


def _gpt_neox():
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, hidden_dropout=0.3,
        )
    )  # fmt: skip


def _bert():
    from transformers import BertConfig, BertLMHeadModel

    return BertLMHeadModel(
        BertConfig(
            vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, is_decoder=True,
        )
    )  # fmt: skip


ARCHITECTURES = {"llama": _llama, "gpt2": _gpt2, "gpt-neox": _gpt_neox, "bert-as-decoder": _bert}


def _policy(architecture="llama", **limits):
    """A policy over integers: texts are numbers separated by blanks, 2 ends a completion."""
    torch.manual_seed(0)
    module = ARCHITECTURES[architecture]().train()  # training mode: dropout must be off all the same
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)

    def numbers(text):
        return [int(word) for word in text.split()]

    def text(ids):
        return " ".join(map(str, (index for index in ids if index != 2)))

    return CausalLMPolicy(module, lambda prompt: [1, *numbers(prompt.text)], numbers, text, [2], Limits(**limits))


def _group(prompt, *completions):
    prompt = Prompt(prompt, origin="rows.jsonl:1")
    return Group(prompt, tuple(Completion(prompt, text) for text in completions))


GROUPS = [_group("5 6 7", "8 9", "10 11 12 13", ""), _group("3", "4 4 4", "5"), _group("9 8 7 6 5 4 3", "6 7", "20 21")]


def _encoded(policy, groups=GROUPS):
    return policy.encode(groups)[0]


def _slow_log_prob(policy, group, completion):
    """The definition: one token at a time, no padding, double precision, all logits."""
    ids = policy.prompt_ids(group.prompt)
    total = torch.zeros((), dtype=torch.float64)
    for token in completion.token_ids:
        logits = policy.module(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        total = total + logits.double().log_softmax(-1)[token]
        ids = [*ids, token]
    return total


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_log_probs_and_gradients_equal_the_definition(architecture):
    policy = _policy(architecture)
    groups = _encoded(policy)
    logp_GK = policy.log_probs(groups)
    slow = [[_slow_log_prob(policy, group, one) for one in group.completions] for group in groups]
    for fast_row, slow_row in zip(logp_GK, slow, strict=True):
        for fast, exact in zip(fast_row, slow_row, strict=False):
            assert fast.item() == pytest.approx(exact.item(), abs=1e-5)
    parameters = list(policy.parameters())
    weights = torch.arange(1.0, 10).view(3, 3)
    fast_gradient = torch.autograd.grad((weights * logp_GK).sum(), parameters, allow_unused=True)
    slow_sum = sum(weights[g, k] * value for g, row in enumerate(slow) for k, value in enumerate(row))
    slow_gradient = torch.autograd.grad(slow_sum, parameters, allow_unused=True)
    for fast, exact in zip(fast_gradient, slow_gradient, strict=True):
        assert (fast is None) == (exact is None)
        if fast is not None:
            torch.testing.assert_close(fast, exact, atol=2e-4, rtol=1e-4)


def test_log_probs_without_gradient_go_in_chunks_and_are_the_same(monkeypatch):
    policy = _policy()
    groups = _encoded(policy)
    whole = policy.log_probs(groups).detach()
    monkeypatch.setattr("copgkit.engine.causal_lm._TOKENS_PER_FORWARD", 12)
    with torch.no_grad():
        torch.testing.assert_close(policy.log_probs(groups), whole, atol=1e-5, rtol=0)


def test_absent_completions_are_zero_and_carry_no_gradient():
    policy = _policy()
    logp_GK = policy.log_probs(_encoded(policy))
    assert logp_GK[1, 2] == 0
    assert logp_GK[0].min() < 0
    # Nothing but the entry itself depends on an absent completion, so its gradient must vanish identically.
    gradient = torch.autograd.grad(logp_GK[1, 2], list(policy.parameters()), allow_unused=True)
    assert all(each is None or not each.any() for each in gradient)


def test_prompt_tokens_are_read_but_not_predicted():
    policy = _policy()
    (group,) = _encoded(policy, [_group("5 6", "8", "9")])
    policy.log_probs([group]).sum().backward()
    # The head is untied here: its rows for tokens that are only in the prompt get no pull towards them.
    logits_bias_free = policy.module.lm_head.weight.grad
    assert logits_bias_free[8].norm() > 0
    with torch.no_grad():
        other = Group(Prompt("5 7"), group.completions)
        assert not torch.allclose(policy.log_probs([group]), policy.log_probs([other]))


def test_a_sequence_is_a_sum_over_its_tokens_with_end_of_sequence():
    policy = _policy()
    (group,) = _encoded(policy, [_group("5", "8 9", "8")])
    assert [one.token_ids for one in group.completions] == [(8, 9, 2), (8, 2)]
    assert policy.num_tokens([group]).tolist() == [[3.0, 2.0]]


def test_generated_token_ids_are_kept_and_an_unfinished_completion_gets_no_end():
    policy = _policy()
    prompt = Prompt("5")
    given = Group(
        prompt,
        (Completion(prompt, "not even numbers", (7, 7, 7), finished=False), Completion(prompt, "3", finished=False)),
    )
    (group,) = _encoded(policy, [given])
    assert [one.token_ids for one in group.completions] == [(7, 7, 7), (3,)]


def test_nothing_is_cut_and_what_does_not_fit_is_left_out_and_counted():
    policy = _policy(prompt_tokens=4, completion_tokens=3)
    groups, report = policy.encode(
        [
            _group("5 6 7", "1 1", "3", "4 4 4"),  # three tokens and end-of-sequence are one too many
            _group("5 6 7 8", "3", "4"),
            _group("5", "3 3 3", "4"),
        ]
    )
    assert [[one.text for one in group.completions] for group in groups] == [["1 1", "3"]]
    assert (report.prompts_too_long, report.completions_too_long, report.groups_too_small) == (1, 2, 1)


def test_a_prompt_without_tokens_is_refused_and_named():
    policy = _policy()
    policy._prompt_ids = lambda prompt: []
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the prompt has no tokens"):
        policy.encode([_group("", "3", "4")])


def test_the_reference_does_not_follow_the_policy():
    policy = _policy()
    groups = _encoded(policy)
    reference = policy.frozen_copy()
    before = reference.log_probs(groups)
    torch.testing.assert_close(before, policy.log_probs(groups).detach())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1)
    assert torch.equal(reference.log_probs(groups), before)
    assert not list(reference.parameters())


def test_bf16_autocast_stays_near_float32():
    policy = _policy()
    groups = _encoded(policy)
    exact = policy.log_probs(groups)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = policy.log_probs(groups)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=0.05, atol=0.3)


# Generation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_generation_equals_transformers(architecture):
    policy = _policy(architecture, completion_tokens=8)
    prompts = [Prompt(text) for text in ("5 6 7", "3", "9 8 7 6 5 4 3")]
    policy.module.eval()
    for prompt, (completion,) in zip(
        prompts, policy.generate(prompts, 1, GenerationSettings(temperature=0)), strict=True
    ):
        ids = torch.tensor([policy.prompt_ids(prompt)])
        expected = policy.module.generate(ids, do_sample=False, max_new_tokens=8, eos_token_id=2, pad_token_id=0)
        assert list(completion.token_ids) == expected[0, ids.shape[1] :].tolist()


def test_samples_do_not_depend_on_the_batch_they_are_drawn_in(monkeypatch):
    policy = _policy(completion_tokens=8)
    prompts = [Prompt(" ".join(map(str, range(3, 4 + n)))) for n in range(7)]
    settings = GenerationSettings(seed=3)
    together = policy.generate(prompts, 3, settings)
    monkeypatch.setattr("copgkit.engine.causal_lm._ROWS_PER_GENERATION", 3)
    apart = [row for prompt in reversed(prompts) for row in policy.generate([prompt], 3, settings)][::-1]
    assert [[one.token_ids for one in row] for row in together] == [[one.token_ids for one in row] for row in apart]
    assert policy.generate(prompts, 3, GenerationSettings(seed=4)) != together


def test_generation_leaves_the_global_random_state_alone():
    policy = _policy(completion_tokens=4)
    before = torch.get_rng_state()
    policy.generate([Prompt("5")], 2, GenerationSettings())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.7)])
def test_first_tokens_are_distributed_as_the_model_says(temperature, top_p):
    policy = _policy(completion_tokens=1)
    prompt, n = Prompt("5 6"), 4000
    (row,) = policy.generate([prompt], n, GenerationSettings(temperature=temperature, top_p=top_p))
    found = torch.bincount(torch.tensor([one.token_ids[0] for one in row]), minlength=V) / n
    with torch.no_grad():
        expected = (policy.module(torch.tensor([[1, 5, 6]])).logits[0, -1] / temperature).softmax(-1)
    if top_p < 1:
        ranked, order = expected.sort(descending=True)
        size = int((ranked.cumsum(0) < top_p).sum()) + 1
        expected = torch.zeros(V).scatter(0, order[:size], ranked[:size] / ranked[:size].sum())
        assert (found[order[size:]] == 0).all()
    # Five standard errors of a binomial share, for each of 25 tokens.
    assert ((found - expected).abs() <= 5 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()


def test_a_completion_that_ends_says_so_and_one_that_is_stopped_does_not():
    policy = _policy(completion_tokens=6)
    (row,) = policy.generate([Prompt("5")], 200, GenerationSettings())
    finished = [one for one in row if one.finished]
    assert finished
    assert len(finished) < 200
    assert all(one.token_ids[-1] == 2 and 2 not in one.token_ids[:-1] for one in finished)
    assert all(len(one.token_ids) == 6 and 2 not in one.token_ids for one in row if not one.finished)


# Tokenizers and loading ----------------------------------------------------------------------------------------------


def test_a_plain_prompt_has_one_bos_and_no_closing_token():
    text = Text(tiny_tokenizer())
    assert text.prompt_ids(Prompt("the cat")) == [1, 4, 5]
    assert text.completion_ids("the cat") == [4, 5]


def test_a_tokenizer_that_closes_every_text_does_not_close_prompts():
    from tokenizers import processors

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    assert Text(tokenizer).prompt_ids(Prompt("the cat")) == [1, 4, 5]


def test_a_conversation_goes_through_the_chat_template_without_a_second_bos():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "<bos>{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}then :{% endif %}"
    )
    prompt = Prompt(({"role": "user", "content": "the cat"},))
    ids = Text(tokenizer).prompt_ids(prompt)
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids[-2:]) == "then :"


def test_a_conversation_without_a_template_says_what_to_do():
    prompt = Prompt(({"role": "user", "content": "the cat"},), origin="chat.jsonl:2")
    with pytest.raises(ModelError, match=r"chat\.jsonl:2.*policy\.chat_template"):
        Text(tiny_tokenizer()).prompt_ids(prompt)


def test_a_missing_model_is_named_with_what_was_tried(tmp_path):
    with pytest.raises(ModelError, match=r"policy\.model: there is no folder 'nowhere/model' beside the recipe"):
        CausalLMPolicy.load("nowhere/model")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="transformers cannot load"):
        CausalLMPolicy.load(str(tmp_path))


def test_a_saved_policy_loads_again_with_the_same_log_probs(tiny_policy_folder, tmp_path):
    policy = CausalLMPolicy.load(str(tiny_policy_folder))
    groups = _encoded(policy, [_group("the cat", "sat on the mat", "ran")])
    policy.save(tmp_path / "saved")
    again = CausalLMPolicy.load(str(tmp_path / "saved"))
    assert torch.equal(again.log_probs(groups), policy.log_probs(groups))


@pytest.mark.skipif(not REAL_POLICY.exists(), reason="real models are not beside this checkout")
def test_a_real_checkpoint_generates_and_agrees_with_the_definition():
    policy = CausalLMPolicy.load(str(REAL_POLICY), max_completion_tokens=12)
    post = "SUBREDDIT: r/test\n\nTITLE: my dog\n\nPOST: my dog ran away and came back.\n\nTL;DR:"
    prompt = Prompt(post)
    assert policy.prompt_ids(prompt)[-1] not in policy.end_ids
    (row,) = policy.generate([prompt], 2, GenerationSettings())
    group = Group(prompt, tuple(row))
    with torch.no_grad():
        fast = policy.log_probs([group])[0]
        assert fast.tolist() == pytest.approx([_slow_log_prob(policy, group, one).item() for one in row], abs=1e-3)
