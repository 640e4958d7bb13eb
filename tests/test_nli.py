"""The reward source `nli` on tiny random classifiers whose outputs are known."""

import json
import math
import re

import pytest
import torch
from conftest import tiny_tokenizer
from nli_models import NAMES, SMALL, save_pair_tokenizer, tiny_classifier
from pydantic import ValidationError

from copgkit import Completion, Context, DataError, ModelError, Prompt
from copgkit_nli.source import Entailment

POST = "the cat sat on the mat and then it was happy . a dog ran under the hill and it was sad ."
TEXTS = ["the cat was happy .", "it ran ! a dog sat . then the mat was sad", "on", "a b c ?", ""]
SHORT = {"window_tokens": 8, "overlap_tokens": 2, "sentence_tokens": 16}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """classifier(*names) -> a folder with a random BERT whose outputs are called so; see `tiny_classifier`."""
    return lambda *names, **options: tiny_classifier(tmp_path_factory.mktemp("nli"), *names, **options)


def _source(folder, **options):
    return Entailment(Entailment.Options(model=str(folder), **SHORT | options), Context("entailment"))


def _completion(text, post=POST):
    return Completion(Prompt(post, origin="posts.jsonl:3"), text)


def _values(source, texts=TEXTS):
    return [score.value for score in source.score([_completion(text) for text in texts])]


def _probability(folder, premise, hypothesis, index=1):
    """What transformers itself says of one pair."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**tokenizer(premise, hypothesis, return_tensors="pt")).logits.softmax(-1)[0, index].item()


@pytest.fixture(scope="module")
def plain(classifier):
    return classifier(*NAMES)


def test_the_order_of_the_outputs_does_not_change_a_score(classifier, plain):
    expected = _values(_source(plain, contradiction_penalty=0.5))
    assert len({round(value, 3) for value in expected}) > 3
    for names in (("entailment", "neutral", "contradiction"), ("NEUTRAL", "Contradiction", "Entailment")):
        lower = tuple(name.lower() for name in names)
        order = tuple(names[lower.index(name)] for name in NAMES)
        found = _values(_source(classifier(*names, order=order), contradiction_penalty=0.5))
        assert found == pytest.approx(expected, abs=1e-6)


def test_a_short_source_and_one_sentence_give_the_classifiers_own_probability(plain):
    (score,) = _source(plain).score([_completion("a dog ran", "the dog was happy .")])
    assert score.value == pytest.approx(_probability(plain, "the dog was happy .", "a dog ran"), abs=1e-6)
    assert score.notes == {"sentences": 1, "windows": 1, "worst-sentence": score.value}


def test_a_long_source_is_read_in_overlapping_windows_of_which_the_best_counts(plain):
    words = POST.split()
    windows = [" ".join(words[start : start + 8]) for start in (0, 6, 12, 18)]
    assert windows[-1].endswith(words[-1])
    (score,) = _source(plain).score([_completion("the cat was sad")])
    expected = max(_probability(plain, window, "the cat was sad") for window in windows)
    assert score.value == pytest.approx(expected, abs=1e-6)
    assert score.notes["windows"] == len(windows)


def test_no_word_of_a_long_source_is_left_unread(plain):
    source = _source(plain)
    tokenizer = tiny_tokenizer()
    long = " ".join(["the cat sat on a mat"] * 40)
    read = source._classifier().windows(long, "it ran")
    rows = [[token for token in row["input_ids"] if token > 2][:-2] for row in read]
    joined = rows[0] + [token for row in rows[1:] for token in row[2:]]
    assert joined == tokenizer(long, add_special_tokens=False)["input_ids"]


def test_windows_keep_to_the_positions_of_architectures_that_count_them_from_behind_the_padding(tmp_path):
    from transformers import RobertaConfig, RobertaForSequenceClassification

    names = {"id2label": dict(enumerate(NAMES)), "num_labels": 3}
    config = RobertaConfig(vocab_size=40, pad_token_id=0, max_position_embeddings=32, **names, **SMALL)
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    save_pair_tokenizer(tmp_path)
    source = _source(tmp_path, window_tokens=64)
    read = source._classifier().windows(" ".join([POST] * 3), "it ran")
    assert max(len(row["input_ids"]) for row in read) == 31
    assert 0 < _values(source, ["it ran"])[0] < 1


def test_sentences_are_aggregated_as_the_recipe_says(plain):
    post, text = "the cat sat .", "it ran ! a dog sat . the mat was sad"
    each = [_probability(plain, post, part) for part in ("it ran !", "a dog sat .", "the mat was sad")]
    against = [_probability(plain, post, part, 0) for part in ("it ran !", "a dog sat .", "the mat was sad")]
    expected = {"mean": sum(each) / 3, "min": min(each), "product": math.prod(each)}
    for over, value in expected.items():
        (score,) = _source(plain, over_sentences=over).score([_completion(text, post)])
        assert score.value == pytest.approx(value, abs=1e-6)
        assert score.notes["worst-sentence"] == pytest.approx(min(each), abs=1e-6)
        assert score.notes["sentences"] == 3
        (odds,) = _source(plain, over_sentences=over, value="log-odds").score([_completion(text, post)])
        assert odds.value == pytest.approx(math.log(value / (1 - value)), abs=1e-4)
    (penalised,) = _source(plain, contradiction_penalty=2).score([_completion(text, post)])
    assert penalised.value == pytest.approx(expected["mean"] - 2 * sum(against) / 3, abs=1e-6)


def test_a_sentence_without_an_end_is_judged_in_parts_and_none_of_it_is_cut(plain):
    source = _source(plain, sentence_tokens=8)
    text = " ".join(["the cat sat on a mat"] * 5)
    parts = source._classifier().parts(text)
    assert " ".join(parts) == text
    assert max(len(part.split()) for part in parts) <= 8
    (score,) = source.score([_completion(text, "the cat ran .")])
    assert score.notes["sentences"] == len(parts) == 4
    assert score.value == pytest.approx(sum(_probability(plain, "the cat ran .", part) for part in parts) / 4, abs=1e-6)


def test_scores_do_not_depend_on_the_batch_or_on_the_order(plain):
    alone = [_values(_source(plain), [text])[0] for text in TEXTS]
    assert _values(_source(plain, batch_size=2)) == pytest.approx(alone, abs=1e-6)
    assert _values(_source(plain), TEXTS[::-1])[::-1] == pytest.approx(alone, abs=1e-6)
    assert _source(plain).score([]) == []


@pytest.mark.parametrize("text", ["", " \n", " :) "])
def test_a_completion_without_words_has_the_lowest_value_and_says_so(plain, text):
    (score,) = _source(plain).score([_completion(text)])
    assert score.value == 0
    assert score.notes == {"sentences": 0, "windows": 0, "empty": 1}
    assert _values(_source(plain, value="log-odds"), [text]) == [pytest.approx(-math.log(999))]


def test_a_blank_source_text_is_a_failure_and_a_missing_one_an_error(plain):
    (score,) = _source(plain).score([_completion("it ran", " ")])
    assert score.value is None
    assert score.failure == "its source text is blank"
    with pytest.raises(DataError, match=r"posts\.jsonl:3: .*'entailment' asks for the text 'facts\.post'"):
        _values(_source(plain, prompt_from="facts.post"))


REFUSED = [
    (("LABEL_0", "LABEL_1", "LABEL_2"), {}, "do not say which output means entailment.*labels: {entailment: 0"),
    (("LABEL_0",), {}, "it has one output, so it looks like a reward model"),
    (("entailment", "not_entailment"), {"contradiction_penalty": 1}, "penalty needs an output that means contra"),
    (NAMES, {"sentence_tokens": 60}, "the model reads 64 tokens, fewer than the 66 .* Lower sentence_tokens"),
]


@pytest.mark.parametrize(("names", "options", "words"), REFUSED)
def test_a_model_that_cannot_serve_is_refused_with_the_fix(classifier, names, options, words):
    with pytest.raises(ModelError, match=f"^reward source 'entailment', model '.*': .*{words}"):
        _values(_source(classifier(*names), **options))


def test_outputs_without_names_are_read_as_the_recipe_says(classifier, plain):
    named = _source(classifier("LABEL_0", "LABEL_1", "LABEL_2"), labels={"entailment": 1, "contradiction": 0})
    assert _values(named) == pytest.approx(_values(_source(plain)), abs=1e-6)


def test_a_two_way_classifier_serves(classifier):
    folder = classifier("not_entailment", "entailment", order=("not_entailment", "entailment"))
    (score,) = _source(folder).score([_completion("it ran", "the cat sat")])
    assert score.value == pytest.approx(_probability(folder, "the cat sat", "it ran"), abs=1e-6)


def test_a_checkpoint_without_a_trained_head_is_refused(plain, tmp_path):
    from transformers import AutoTokenizer, BertModel

    BertModel.from_pretrained(plain).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(plain).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(NAMES))}))
    with pytest.raises(ModelError, match=r"lacks classifier\.bias, so its answers would be random"):
        _values(_source(tmp_path))


def test_weights_that_are_not_safetensors_or_broken_are_refused(plain, tmp_path):
    import shutil

    shutil.copytree(plain, tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:40])
    with pytest.raises(ModelError, match="it cannot be loaded"):
        _values(_source(tmp_path / "model"))
    weights.rename(tmp_path / "model/pytorch_model.bin")
    with pytest.raises(ModelError, match=r"it cannot be loaded: .*safetensors"):
        _values(_source(tmp_path / "model"))


def test_a_missing_model_is_named_before_any_work():
    with pytest.raises(ModelError, match="model 'nowhere': there is no such folder beside the recipe"):
        _source("nowhere")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap_tokens": 8}, "smaller than window_tokens"),
        ({"labels": {"neutral": 1}}, "which output is `entailment`"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, words):
    with pytest.raises(ValidationError, match=re.escape(words)):
        Entailment.Options(model="m", **SHORT | options)


def test_scoring_leaves_the_random_state_alone_and_can_go_on_after_close(plain):
    source = _source(plain)
    before = torch.get_rng_state()
    first = _values(source)
    source.close()
    assert source._loaded is None
    assert _values(source) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_the_fingerprint_follows_options_and_weights(plain, classifier):
    same = _source(plain).fingerprint()
    assert same == _source(plain, batch_size=2, device="cpu").fingerprint()
    assert same != _source(plain, over_sentences="min").fingerprint()
    other = classifier("entailment", "contradiction", "neutral")
    assert same.split(":")[-1] != _source(other).fingerprint().split(":")[-1]
