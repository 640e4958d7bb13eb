"""Learned rewards: sequence classifiers of one or several outputs, and how prompt and completion reach them."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import tiny_tokenizer
from pydantic import ValidationError

from copgkit import Completion, Context, DataError, ModelError, Progress, Prompt
from copgkit_reward_model import RewardModel, sharing
from copgkit_reward_model.families import batches, families

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
TEXTS = ["sat on the mat", "ran", "the dog was happy and then it was sad", "it sat", "cat"]


CHAT = "<bos>{% for m in messages %}{{ m.role }} {{ m.content }} . {% endfor %}"


def _completion(text="the cat sat", prompt="the cat :", **more):
    return Completion(Prompt(prompt, origin="rows.jsonl:4", **more), text)


def _model(folder, progress=None, **options):
    return RewardModel(
        RewardModel.Options(model=str(folder), **options), Context("learned", progress=progress or Progress())
    )


def _words(source, completion):
    """What the model reads, as words."""
    source._load()
    (found,) = source._encoded([completion])
    return source._encoder.tokenizer.convert_ids_to_tokens(found.tokens["input_ids"])


def _classifier(folder, labels, order=None):
    """A Llama classifier with named outputs, saved in the given order."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}
    config = LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.5, pad_token_id=0, **SMALL | names)
    model = LlamaForSequenceClassification(config)
    if order is not None:
        model.score.weight.data = model.score.weight.data[list(order)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _values(source, texts=TEXTS, **prompt):
    return [score.value for score in source.score([_completion(text, **prompt) for text in texts])]


def test_scores_do_not_depend_on_the_batch_or_on_the_order(tiny_reward_folder):
    alone = [_values(_model(tiny_reward_folder), [text])[0] for text in TEXTS]
    assert _values(_model(tiny_reward_folder, batch_size=2)) == pytest.approx(alone, abs=1e-5)
    assert _values(_model(tiny_reward_folder), TEXTS[::-1])[::-1] == pytest.approx(alone, abs=1e-5)
    assert len({round(value, 4) for value in alone}) == len(TEXTS)


def test_a_score_is_the_models_output_for_prompt_and_completion_as_one_text(tiny_reward_folder):
    from transformers import AutoModelForSequenceClassification

    source = _model(tiny_reward_folder, append_eos=True)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_reward_folder)
    ids = tiny_tokenizer()("the cat : ran <eos>")["input_ids"]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits.item()
    assert _values(source, ["ran"]) == pytest.approx([expected], abs=1e-5)


def test_a_pair_goes_in_as_two_texts_with_their_types(tmp_path):
    from tokenizers import processors
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B:1 <eos>:1", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), initializer_range=0.5, num_labels=1, **SMALL)
    ).eval()
    model.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    settings = json.loads((tmp_path / "bert/tokenizer_config.json").read_text())
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (tmp_path / "bert/tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bert")
    with torch.no_grad():
        expected = model(**tokenizer("the dog", "ran", return_tensors="pt")).logits.item()
    source = _model(tmp_path / "bert", input="pair", prompt_from="facts.post")
    assert _values(source, ["ran"], facts={"post": "the dog"}) == pytest.approx([expected], abs=1e-5)
    with pytest.raises(DataError, match=r"rows\.jsonl:4: .* asks for the text 'facts\.post'"):
        _values(source, ["ran"])


@pytest.fixture
def chat_folder(tiny_reward_folder, tmp_path):
    """The tiny reward model with a chat template."""
    folder = tmp_path / "chat"
    shutil.copytree(tiny_reward_folder, folder)
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


def test_a_chat_goes_through_the_template_without_a_second_bos(chat_folder, tiny_reward_folder):
    words = _words(_model(chat_folder, input="chat"), _completion("ran", "the cat"))
    assert words == ["<bos>", "<unk>", "the", "cat", ".", "<unk>", "ran", "."]
    with pytest.raises(ModelError, match="has no chat template"):
        _values(_model(tiny_reward_folder, input="chat"))


def test_a_chat_can_be_about_another_text_than_the_prompt(chat_folder):
    source = _model(chat_folder, input="chat", prompt_from="facts.post")
    assert _words(source, _completion("ran", facts={"post": "dog"}))[2:4] == ["dog", "."]


# What is too long ----------------------------------------------------------------------------------------------------

LONG = "the cat sat on the mat and then it was happy :"
SHORTENED = {
    ("joined", "prompt-start"): ["<bos>", "it", "was", "happy", ":", "ran"],
    ("joined", "prompt-end"): ["<bos>", "the", "cat", "sat", "on", "ran"],
    ("pair", "prompt-start"): ["<bos>", "was", "happy", ":", "<eos>", "ran"],
    ("pair", "prompt-end"): ["<bos>", "the", "cat", "sat", "<eos>", "ran"],
    ("chat", "prompt-start"): ["<bos>", "<unk>", ":", ".", "<unk>", "ran", "."],
    ("chat", "prompt-end"): ["<bos>", "<unk>", "the", ".", "<unk>", "ran", "."],
}


@pytest.fixture
def long_folder(chat_folder):
    """The same with a separator between the texts of a pair."""
    from tokenizers import processors

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <eos> $B:0", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(chat_folder)
    return chat_folder


@pytest.mark.parametrize(("form", "truncate"), SHORTENED)
def test_only_the_prompt_is_shortened_at_the_side_that_was_asked_for(long_folder, form, truncate):
    expected = SHORTENED[form, truncate]
    source = _model(long_folder, input=form, truncate=truncate, max_tokens=len(expected))
    assert _words(source, _completion("ran", LONG)) == expected
    found = source._encoded([_completion("ran", LONG), _completion("ran", "the")])
    assert [each.truncated for each in found] == [True, False]


@pytest.mark.parametrize("form", ["joined", "pair", "chat"])
def test_a_completion_that_does_not_fit_has_failed_and_is_never_cut(long_folder, form):
    source = _model(long_folder, input=form, max_tokens=8)
    short, long = source.score([_completion("ran", LONG), _completion(LONG, "the")])
    assert short.notes == {"truncated": 1.0}
    assert long.value is None
    assert "leaves no room for the prompt within 8. Raise max_tokens" in long.failure


def test_too_long_can_mean_failed(long_folder):
    source = _model(long_folder, truncate="refuse", max_tokens=8)
    short, long = source.score([_completion("ran", "the"), _completion("ran", LONG)])
    assert short.value is not None
    assert long.failure == "the input has 14 tokens and the limit is 8. See max_tokens and truncate"


def test_the_longest_turn_of_a_conversation_gives_way(long_folder):
    turns = ({"role": "a", "content": "the dog"}, {"role": "b", "content": LONG}, {"role": "c", "content": "it ?"})
    words = _words(_model(long_folder, input="chat", max_tokens=16), _completion("ran", turns))
    assert " ".join(words) == "<bos> a the dog . b happy : . c it ? . <unk> ran ."


def test_what_was_shortened_is_counted_noted_and_said_once(tiny_reward_folder):
    progress = Told()
    source = _model(tiny_reward_folder, progress, max_tokens=6)
    scores = [score for _ in range(2) for score in source.score([_completion("ran", LONG), _completion("ran", "the")])]
    assert [score.notes for score in scores] == [{"truncated": 1.0}, {}] * 2
    assert len(progress.warnings) == 1
    assert "1 of the first 2 inputs are longer than 6 tokens and lose the start" in progress.warnings[0]
    source.close()
    assert progress.messages == [
        "reward source 'learned': 2 of 4 inputs were too long and lost a part of their prompt."
    ]


class Told(Progress):
    """Keeps messages as well as warnings."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def test_no_input_is_longer_than_the_model_reads(tiny_reward_folder):
    words = _words(_model(tiny_reward_folder, max_tokens=512), _completion("ran", "the " * 300))
    assert len(words) == 128


# Which model, which output, where ------------------------------------------------------------------------------------


def test_one_of_several_outputs_is_chosen_by_name_or_number(tmp_path):
    from transformers import AutoModelForSequenceClassification

    folder = _classifier(tmp_path / "three", ["bad", "fair", "good"])
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        expected = model(torch.tensor([tiny_tokenizer()("the cat : ran")["input_ids"]])).logits[0].tolist()
    assert [_values(_model(folder, head=head), ["ran"])[0] for head in ("bad", 1, "good")] == pytest.approx(expected)


def test_an_output_follows_its_name_when_the_outputs_are_in_another_order(tmp_path):
    plain = _classifier(tmp_path / "plain", ["bad", "fair", "good"])
    permuted = _classifier(tmp_path / "permuted", ["good", "bad", "fair"], order=[2, 0, 1])
    assert _values(_model(permuted, head="good")) == pytest.approx(_values(_model(plain, head="good")), abs=1e-6)


@pytest.mark.parametrize(
    ("head", "fault"), [(None, "has 3 outputs"), ("god", "has no output 'god'"), (3, "no output '3'")]
)
def test_without_a_choice_among_several_outputs_their_names_are_told(tmp_path, head, fault):
    folder = _classifier(tmp_path / "three", ["bad", "fair", "good"])
    with pytest.raises(ModelError, match=f"{fault}.*Choose one with `head`, by name or number: bad, fair, good"):
        _values(_model(folder, head=head))


def test_a_model_without_a_trained_output_is_refused(tiny_policy_folder):
    with pytest.raises(ModelError, match=r"has no weights for score\.weight, which would be random"):
        _values(_model(tiny_policy_folder))


def test_an_output_that_is_not_finite_has_failed(tiny_reward_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "nan"
    shutil.copytree(tiny_reward_folder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"] = torch.full_like(weights["score.weight"], float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (score,) = _model(folder).score([_completion()])
    assert (score.value, score.failure) == (None, "the model gave nan; a wider dtype may help")


def test_accelerate_can_place_the_model_and_the_scores_stay(tiny_reward_folder, monkeypatch):
    from transformers import LlamaForSequenceClassification

    asked = []
    load = LlamaForSequenceClassification.from_pretrained.__func__
    monkeypatch.setattr(
        LlamaForSequenceClassification,
        "from_pretrained",
        classmethod(lambda cls, *args, **more: asked.append(more.get("device_map")) or load(cls, *args, **more)),
    )
    placed, plain = _values(_model(tiny_reward_folder, device_map="auto")), _values(_model(tiny_reward_folder))
    assert placed == pytest.approx(plain, abs=1e-5)
    assert asked == ["auto", None]
    with pytest.raises(ValidationError, match="Give one of them"):
        _model(tiny_reward_folder, device_map="auto", device="cpu")


def test_a_shorter_type_gives_nearly_the_same(tiny_reward_folder):
    half = _model(tiny_reward_folder, dtype="bfloat16")
    assert half._load().model.dtype == torch.bfloat16
    assert _values(half) == pytest.approx(_values(_model(tiny_reward_folder)), abs=0.3)


def test_nothing_to_score_gives_nothing(tiny_reward_folder):
    assert _values(_model(tiny_reward_folder), []) == []


def test_a_missing_model_is_named_before_any_work():
    with pytest.raises(ModelError, match="there is no folder 'nowhere' beside the recipe"):
        _model("nowhere")


def test_scoring_leaves_the_random_state_alone_and_can_go_on_after_close(tiny_reward_folder):
    source = _model(tiny_reward_folder)
    before = torch.get_rng_state()
    first = _values(source)
    source.close()
    assert _values(source) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_the_fingerprint_follows_options_and_weights(tiny_reward_folder, tmp_path):
    same = _model(tiny_reward_folder).fingerprint()
    assert same == _model(tiny_reward_folder).fingerprint()
    assert same != _model(tiny_reward_folder, append_eos=True).fingerprint()
    shutil.copytree(tiny_reward_folder, tmp_path / "other")
    weights = tmp_path / "other/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert _model(tmp_path / "other").fingerprint().split(":")[-1] != same.split(":")[-1]


def test_prompts_are_encoded_once_and_all_texts_of_a_call_together(tiny_reward_folder, monkeypatch):
    source = _model(tiny_reward_folder)
    tokenizer, asked = source._load().tokenizer, []
    call = type(tokenizer).__call__
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, texts, **how: asked.append(texts) or call(self, texts, **how)
    )
    source.score([_completion(text, prompt) for prompt in ("the cat :", LONG) for text in TEXTS])
    assert asked == [["the cat :", LONG], [*TEXTS, *TEXTS]]


# Families -------------------------------------------------------------------------------------------------------------


COMMON = "the cat sat on the mat and the dog ran to the hill and the cat was happy and the dog was sad :"


def _alone(source, completions):
    """What the model says when it reads every input whole."""
    source._load()
    source._classifier = replace(source._classifier, shares=False)
    return [score.value for score in source.score(completions)]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("together", [1, 12, 256])
def test_completions_of_one_prompt_get_the_scores_that_they_get_alone(
    tiny_reward_folder, monkeypatch, batch_size, together
):
    monkeypatch.setattr(sharing, "_TOGETHER", together)
    prompts = [COMMON, f"a {COMMON}", "the cat :"]
    completions = [_completion(text, prompt) for text in [*TEXTS, "", "it"] for prompt in prompts]
    source = _model(tiny_reward_folder, batch_size=batch_size)
    together = [score.value for score in source.score(completions)]
    assert source._classifier.shares
    assert together == pytest.approx(_alone(source, completions), rel=1e-4, abs=1e-5)


def test_an_end_of_sequence_that_also_pads_is_read_where_the_classifier_reads_it(tiny_reward_folder, tmp_path):
    folder = shutil.copytree(tiny_reward_folder, tmp_path / "eos-pads")
    config = json.loads((folder / "config.json").read_text())
    eos = tiny_tokenizer().eos_token_id
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": eos}))
    completions = [_completion(text, COMMON) for text in ["", "it", "it sat"]]
    source = _model(folder, append_eos=True)
    together = [score.value for score in source.score(completions)]
    assert together == pytest.approx(_alone(source, completions), rel=1e-4, abs=1e-5)


def test_a_classifier_that_is_not_causal_reads_every_input_whole(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, max_position_embeddings=64, **SMALL)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    source = _model(tmp_path)
    completions = [_completion(text, COMMON) for text in TEXTS]
    values = [score.value for score in source.score(completions)]
    assert not source._classifier.shares
    assert values == pytest.approx(_alone(source, completions), rel=1e-4)


def test_a_model_with_an_attention_of_its_own_shares_beginnings_too(tmp_path):
    from transformers import Gemma2Config, Gemma2ForSequenceClassification

    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = Gemma2Config(
        vocab_size=len(tokenizer), num_key_value_heads=2, head_dim=8, num_labels=1, initializer_range=0.5, **SMALL
    )
    Gemma2ForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    source = _model(tmp_path)
    completions = [_completion(text, COMMON) for text in TEXTS]
    values = [score.value for score in source.score(completions)]
    assert source._classifier.shares
    assert values == pytest.approx(_alone(source, completions), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("max_tokens", "shares"), [(30, True), (31, False)])
def test_a_model_that_sees_less_than_an_input_reads_every_input_whole(tmp_path, max_tokens, shares):
    from transformers import MistralConfig, MistralForSequenceClassification

    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = MistralConfig(vocab_size=len(tokenizer), sliding_window=30, num_key_value_heads=2, num_labels=1, **SMALL)
    MistralForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    source = _model(tmp_path, max_tokens=max_tokens)
    completions = [_completion(text, COMMON) for text in TEXTS]
    values = [score.value for score in source.score(completions)]
    assert source._classifier.shares == shares
    assert values == pytest.approx(_alone(source, completions), rel=1e-4, abs=1e-5)


def test_a_model_whose_tokens_mix_outside_attention_reads_every_input_whole(tiny_reward_folder, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaMLP

    forward = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, hidden: forward(self, hidden).cumsum(dim=1))
    source = _model(tiny_reward_folder)
    completions = [_completion(text, COMMON) for text in TEXTS]
    values = [score.value for score in source.score(completions)]
    assert not source._classifier.shares
    assert values == pytest.approx(_alone(source, completions), rel=1e-4)


def test_inputs_are_put_into_families_by_what_they_have_in_common():
    stem = list(range(100, 120))
    rows = [[*stem, 1, 2], [7, 8], [*stem, 1, 3, 4], [*stem, 5], [9] * 30]
    found = {family.members: family.shared for family in families(rows)}
    assert found == {(0, 2, 3): 20, (1,): 1, (4,): 29}
    assert families([stem, [*stem, 1]])[0].shared == 19, "a last word is left to be read"
    sizes = [[len(family.members) for family in batch] for batch in batches(families(rows), batch_size=2)]
    assert sizes == [[1], [3], [1]]
