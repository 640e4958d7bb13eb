"""Log-probabilities of a causal language model against an independent slow computation, on four architectures."""

import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from copgkit import Completion, DataError, Group, ModelError, Prompt
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.codec import IntegerCodec, TokenizerCodec
from copgkit.engine.policy import EncodingReport

EOS = 1
SIZES = {"vocab_size": 23, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
SIZES |= {"max_position_embeddings": 40, "initializer_range": 0.4}
ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=23, n_layer=2, n_head=2, n_embd=16, n_positions=40, initializer_range=0.4)
    ),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)),
    "bert": lambda: BertLMHeadModel(BertConfig(**SIZES, is_decoder=True)),
}


def make_module(architecture="llama"):
    torch.manual_seed(3)
    return ARCHITECTURES[architecture]()


def make_policy(architecture="llama", **options):
    limits = {"max_prompt_tokens": 20, "max_completion_tokens": 20} | options
    return CausalLMPolicy(make_module(architecture), IntegerCodec(stop_ids=(EOS,)), **limits)


@pytest.fixture(params=ARCHITECTURES)
def policy(request):
    return make_policy(request.param)


def group(prompt, *texts, finished=True):
    prompt = Prompt(prompt)
    return Group(prompt, tuple(Completion(prompt, text, finished=finished) for text in texts))


GROUPS = [
    group("2 3 4", "5 6", "7"),
    group("8", "9 10 11 12 13", "", "14 15 16"),
    group("2 3 4 5 6 7 8 9", "5 6", "7", "3 3 3", "22"),
]


def slow_log_prob(module, prompt_ids, ids):
    """One position at a time, from the logits of the bare sequence without mask, padding or cache, in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for position, token_id in enumerate(ids):
        before = torch.tensor([[*prompt_ids, *ids[:position]]])
        total = total + module(before).logits[0, -1].double().log_softmax(-1)[token_id]
    return total


def slow_log_probs(module, groups):
    rows = []
    for one in groups:
        prompt_ids = [int(word) for word in one.prompt.text.split()]
        rows.append([slow_log_prob(module, prompt_ids, [*map(int, c.text.split()), EOS]) for c in one.completions])
    return rows


def test_log_probs_are_those_of_a_slow_independent_computation(policy):
    logp_GK = policy.log_probs(GROUPS).detach()
    exact = slow_log_probs(policy.model.double(), GROUPS)
    assert logp_GK.shape == (3, 4)
    for row, wanted in zip(logp_GK.tolist(), exact, strict=True):
        assert row[: len(wanted)] == pytest.approx([value.item() for value in wanted], abs=1e-5)
        assert row[len(wanted) :] == [0.0] * (4 - len(wanted))
    assert min(logp_GK.flatten().tolist()) < -5  # the models are far from uniform, so that errors would show


def test_gradients_are_those_of_the_slow_computation(policy):
    weights = [[1.0, -2.0], [0.5, 3.0, -1.0], [1.0, 1.0, -0.3, 0.7]]
    policy.model.double()
    parameters = list(policy.parameters())
    logp_GK = policy.log_probs(GROUPS)
    fast = sum(w * logp_GK[g, k] for g, row in enumerate(weights) for k, w in enumerate(row))
    exact_rows = slow_log_probs(policy.model, GROUPS)
    slow = sum(w * exact_rows[g][k] for g, row in enumerate(weights) for k, w in enumerate(row))
    fast_gradients = torch.autograd.grad(fast, parameters, allow_unused=True)
    slow_gradients = torch.autograd.grad(slow, parameters, allow_unused=True)
    for one, other in zip(fast_gradients, slow_gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)  # Llama's norms stay float32


def test_a_uniform_model_gives_minus_length_times_the_log_of_the_vocabulary():
    policy = make_policy()
    policy.model.lm_head.weight.data.zero_()
    expected = [[-3 * math.log(23), -2 * math.log(23)]]
    torch.testing.assert_close(policy.log_probs(GROUPS[:1]), torch.tensor(expected), atol=1e-5, rtol=0)


def test_other_rows_and_padding_change_nothing(policy):
    together = policy.log_probs(GROUPS)
    for g, one in enumerate(GROUPS):
        alone = policy.log_probs([one])[0]
        torch.testing.assert_close(together[g, : len(alone)], alone, atol=2e-6, rtol=1e-6)


def test_passes_sorted_by_length_without_gradient_keep_the_order(policy):
    wanted = policy.log_probs(GROUPS)
    policy.tokens_per_forward = 12
    with torch.no_grad():
        torch.testing.assert_close(policy.log_probs(GROUPS), wanted.detach(), atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("attention", ["blocks", "mask", "separate"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_neither_padding_nor_absent_completions_have_a_gradient(architecture, attention):
    module = make_module(architecture)
    policy = CausalLMPolicy(module, IntegerCodec(stop_ids=(EOS,)), max_prompt_tokens=20, max_completion_tokens=20)
    policy.forms = replace(policy.forms, attention=attention)
    inputs = []
    module.get_input_embeddings().register_forward_hook(lambda layer, given, output: inputs.append(output))
    (gradient,) = torch.autograd.grad(policy.log_probs(GROUPS).sum(), inputs[-1])
    lengths, width = {  # the last token of a completion is never fed
        "blocks": ([3 + 2 + 1 + 1 + 5 + 0 + 3 + 8 + 2 + 1 + 3 + 1], 30),
        "mask": ([3 + 2 + 1, 1 + 5 + 0 + 3, 8 + 2 + 1 + 3 + 1], 15),
        "separate": ([3 + 2, 3 + 1, 1 + 5, 1 + 0, 1 + 3, 8 + 2, 8 + 1, 8 + 3, 8 + 1], 11),
    }[attention]
    assert inputs[-1].shape[:2] == (len(lengths), width)
    for row, length in zip(gradient, lengths, strict=True):
        assert row[:length].abs().sum(-1).min() > 0
        assert not row[length:].any()
    absent = policy.log_probs(GROUPS)[0, 2:].sum()
    assert all(
        g is None or not g.any() for g in torch.autograd.grad(absent, list(policy.parameters()), allow_unused=True)
    )


def test_prompt_tokens_are_not_predicted():
    policy = make_policy()
    one, other = group("2 3 4", "5", "6"), group("2 3 4", "5", "6")
    policy.model.model.layers = torch.nn.ModuleList()  # without layers a token sees nothing but the one before it
    policy.model.config.num_hidden_layers = 0
    policy.forms = replace(policy.forms, last=None)
    logp = policy.log_probs([one, other]).double()
    table = policy.model.lm_head(policy.model.model.norm(policy.model.model.embed_tokens.weight)).log_softmax(-1)
    assert logp[0].tolist() == pytest.approx(
        [(table[4, 5] + table[5, EOS]).item(), (table[4, 6] + table[6, EOS]).item()], abs=1e-5
    )


@pytest.mark.parametrize("head", ["narrow", "full"])
def test_logits_serve_where_the_output_head_is_not_a_plain_one(policy, head):
    wanted = policy.log_probs(GROUPS)
    assert policy.forms.head == "slices"
    policy.forms = replace(policy.forms, head=head)
    torch.testing.assert_close(policy.log_probs(GROUPS), wanted, atol=2e-6, rtol=1e-6)


def test_gradient_checkpointing_changes_neither_values_nor_gradients():
    plain, checkpointed = make_policy(), make_policy(gradient_checkpointing=True)
    assert checkpointed.module.training
    values = []
    for one in (plain, checkpointed):
        logp = one.log_probs(GROUPS)
        logp.pow(2).sum().backward()
        values.append((logp, [parameter.grad for parameter in one.parameters()]))
    torch.testing.assert_close(values[0], values[1])


def test_dropout_of_the_checkpoint_is_switched_off_even_in_training_mode():
    config = GPT2Config(vocab_size=23, n_layer=2, n_head=2, n_embd=16, n_positions=40, attn_pdrop=0.5, resid_pdrop=0.5)
    policy = CausalLMPolicy(
        GPT2LMHeadModel(config), IntegerCodec((EOS,)), max_prompt_tokens=20, max_completion_tokens=9
    )
    in_evaluation = policy.log_probs(GROUPS)
    policy.module.train()
    torch.testing.assert_close(policy.log_probs(GROUPS), in_evaluation)
    llama = LlamaForCausalLM(LlamaConfig(**SIZES, attention_dropout=0.5))
    policy = CausalLMPolicy(llama, IntegerCodec((EOS,)), max_prompt_tokens=20, max_completion_tokens=9)
    in_evaluation = policy.log_probs(GROUPS)
    policy.module.train()
    torch.testing.assert_close(policy.log_probs(GROUPS), in_evaluation)


def test_bf16_autocast_stays_near_and_gives_float32():
    policy = make_policy()
    wanted = policy.log_probs(GROUPS)
    with torch.autocast("cpu", torch.bfloat16):
        rough = policy.log_probs(GROUPS)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, wanted, atol=0.5, rtol=0.02)
    rough.sum().backward()


def test_under_accelerate_in_bf16_a_frozen_copy_and_saving_still_work(tmp_path):
    AcceleratorState._reset_state(True)
    policy = make_policy()
    policy.module = Accelerator(mixed_precision="bf16", cpu=True).prepare(policy.module)
    frozen = policy.frozen_copy()
    before = frozen.log_probs(GROUPS)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.5)
    torch.testing.assert_close(frozen.log_probs(GROUPS), before)
    assert (policy.log_probs(GROUPS) - before).abs().max() > 0.1
    policy.save(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    read_back = CausalLMPolicy(
        AutoModelForCausalLM.from_pretrained(tmp_path), policy.codec, max_prompt_tokens=20, max_completion_tokens=20
    )
    torch.testing.assert_close(read_back.log_probs(GROUPS), policy.log_probs(GROUPS), atol=0.5, rtol=0.02)
    AcceleratorState._reset_state(True)


def test_a_frozen_copy_has_no_gradient_and_does_not_move_with_the_policy(policy):
    frozen = policy.frozen_copy()
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in policy.parameters())
    before = frozen.log_probs(GROUPS)
    next(policy.parameters()).data.add_(1.0)
    assert torch.equal(frozen.log_probs(GROUPS), before)


def test_release_frees_the_weights():
    policy = make_policy()
    policy.release()
    assert all(parameter.is_meta for parameter in policy.parameters())


# --- encoding -------------------------------------------------------------------------------------------------------


def test_num_tokens_counts_end_of_sequence_and_leaves_absent_completions_at_zero():
    assert make_policy().num_tokens(GROUPS).tolist() == [[3, 2, 0, 0], [6, 1, 4, 0], [3, 2, 4, 2]]


def test_encode_ends_finished_text_once_and_leaves_unfinished_text_open():
    policy = make_policy()
    (one,), _ = policy.encode([group("2", "5 6", "5 1", "")])
    assert [c.token_ids for c in one.completions] == [(5, 6, EOS), (5, EOS), (EOS,)]
    (one,), _ = policy.encode([group("2", "5 6", "7", finished=False)])
    assert [c.token_ids for c in one.completions] == [(5, 6), (7,)]


def test_generated_ids_are_kept_even_if_their_text_says_otherwise():
    prompt = Prompt("2")
    completions = (Completion(prompt, "not numbers", token_ids=(4, 4)), Completion(prompt, "5"))
    (one,), report = make_policy().encode([Group(prompt, completions)])
    assert one.completions[0].token_ids == (4, 4)
    assert report == EncodingReport()


def test_nothing_is_cut_and_what_is_left_out_is_counted():
    policy = make_policy(max_prompt_tokens=3, max_completion_tokens=3)
    weights = ((0.0, 1.0, 2.0), (1.0, 0.0, 3.0), (2.0, 3.0, 0.0))
    fits = group("2 3 4", "5 6", "5 6 7", "8")
    groups = [
        Group(fits.prompt, fits.completions, weights),
        group("2 3 4 5", "5", "6"),
        group("2", "5", "5 6 7", "5 6 7 8"),
    ]
    kept, report = policy.encode(groups)
    assert [[c.text for c in one.completions] for one in kept] == [["5 6", "8"]]
    assert kept[0].pair_weights == ((0.0, 2.0), (2.0, 0.0))
    assert report == EncodingReport(prompts_too_long=1, completions_too_long=3, groups_too_small=1)


def test_an_empty_prompt_is_named():
    policy = make_policy()
    prompt = Prompt(" ", origin="posts.jsonl:17")
    with pytest.raises(DataError, match=r"posts\.jsonl:17: the prompt is empty"):
        policy.encode([Group(prompt, (Completion(prompt, "5"), Completion(prompt, "6")))])


def test_text_that_is_no_number_is_named():
    with pytest.raises(DataError, match="'five': not whole numbers"):
        make_policy().encode([group("2", "five", "6")])


# --- tokenizers -----------------------------------------------------------------------------------------------------

WORDS = ["[PAD]", "[SEP]", "[CLS]", "a", "b", "c", "user", ":", "assistant", "<unk>"]


def make_tokenizer(template="[CLS] $A", **more):
    raw = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = Whitespace()
    raw.post_processor = TemplateProcessing(single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 1)])
    special = {"bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "<unk>"} | more
    return PreTrainedTokenizerFast(tokenizer_object=raw, **special)


def test_a_prompt_keeps_the_mark_in_front_and_loses_the_one_behind():
    for template in ("[CLS] $A", "[CLS] $A [SEP]"):
        codec = TokenizerCodec(make_tokenizer(template), (1,))
        assert codec.prompt_ids(Prompt("a b")) == (2, 3, 4)
    assert codec.prompt_ids(Prompt("a [SEP]")) == (2, 3, 1)  # written by the user, so it stays


def test_a_completion_has_no_mark_in_front():
    codec = TokenizerCodec(make_tokenizer("[CLS] $A [SEP]"), (1,))
    assert codec.text_ids("c a") == (5, 3)
    assert codec.text((5, 3, 1)) == "c a"


def test_a_conversation_is_written_by_the_template_with_one_beginning_and_room_for_the_answer():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %} {{ m.role }} : {{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %} assistant :{% endif %}"
    )
    prompt = Prompt(({"role": "user", "content": "b"},))
    assert TokenizerCodec(tokenizer, (1,)).prompt_ids(prompt) == (2, 6, 7, 4, 8, 7)


def test_a_conversation_without_a_template_says_what_to_do():
    with pytest.raises(ModelError, match="no chat template"):
        TokenizerCodec(make_tokenizer(), (1,)).prompt_ids(Prompt(({"role": "user", "content": "b"},)))


def test_a_prompt_is_tokenised_once():
    calls = []

    class Counting:
        sep_token_id = None

        def __call__(self, text, **options):
            calls.append(text)
            return {"input_ids": [3]}

    codec = TokenizerCodec(Counting(), (1,))
    codec.prompt_ids(Prompt("a"))
    seen = len(calls)
    codec.prompt_ids(Prompt("a", id="another"))
    assert len(calls) == seen


# --- loading --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    make_module().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def load(folder, **more):
    return CausalLMPolicy.load(str(folder), **({"max_prompt_tokens": 20, "max_completion_tokens": 20} | more))


def test_a_saved_policy_loads_and_says_the_same(folder, tmp_path):
    policy = load(folder)
    one = group("a b", "c", "c a")
    policy.save(tmp_path / "again")
    torch.testing.assert_close(load(tmp_path / "again").log_probs([one]), policy.log_probs([one]))
    assert policy.encode([one])[0][0].completions[1].token_ids == (5, 3, 1)


def test_the_stop_ids_of_the_generation_config_count_too(folder):
    module = make_module()
    module.generation_config.eos_token_id = [1, 7]
    module.save_pretrained(folder)
    assert load(folder).codec.stop_ids == (1, 7)


def test_a_missing_model_is_an_error_for_people(tmp_path):
    with pytest.raises(ModelError, match=r"^policy.model: .*nowhere' is not a folder here"):
        load(tmp_path / "nowhere")


def test_a_missing_tokenizer_is_an_error_for_people(tmp_path):
    make_module().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"^policy.tokenizer: "):
        load(tmp_path)


def test_a_tokenizer_without_end_of_sequence_is_refused(folder):
    make_tokenizer(eos_token=None).save_pretrained(folder)
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        load(folder)


def test_a_model_without_output_head_is_refused(folder):
    make_module().model.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"lacks 1 weights .*lm_head"):
        load(folder)


def test_an_encoder_is_refused():
    with pytest.raises(ModelError, match="not a causal language model"):
        CausalLMPolicy(
            BertLMHeadModel(BertConfig(**SIZES)), IntegerCodec((EOS,)), max_prompt_tokens=9, max_completion_tokens=9
        )


def test_limits_beyond_the_positions_of_the_model_are_refused():
    with pytest.raises(ModelError, match="exceed together the 40 positions"):
        make_policy(max_prompt_tokens=30, max_completion_tokens=11)


def test_a_missing_chat_template_file_is_named(folder):
    with pytest.raises(ModelError, match=r"policy.chat_template: .*no\.jinja"):
        load(folder, chat_template=str(folder / "no.jinja"))
