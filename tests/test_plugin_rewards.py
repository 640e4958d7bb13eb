"""The reward sources that come with copgkit: functions, recorded scores, and learned models."""

import json

import pytest
import torch
from conftest import tiny_tokenizer

from copgkit import Completion, Context, DataError, ModelError, PluginError, Prompt, RewardError, Score
from copgkit_functions import PythonFunction, RecordedScore
from copgkit_reward_model import RewardModel


@pytest.fixture
def function(tmp_path):
    """Makes a `python` source of the given code and options."""

    def make(code, **options):
        (tmp_path / "reward.py").write_text(code)
        return PythonFunction(PythonFunction.Options(file="reward.py", **options), Context("mine", tmp_path))

    return make


def _completion(text="the cat sat", prompt="the cat :", **more):
    return Completion(Prompt(prompt, origin="rows.jsonl:4", **more), text)


def test_a_first_reward_is_a_function_of_one_line(function):
    source = function("def score(completion): return len(completion.split())")
    assert source.score([_completion("a b"), _completion("a")]) == [Score(2.0), Score(1.0)]


def test_a_function_gets_the_arguments_it_names(function):
    code = "def score(completion, prompt, answer, place, times=1): return times * len(prompt + answer + place)"
    source = function(code, arguments={"times": 2})
    assert source.score([_completion(prompt="abc", answer="de", facts={"place": "f"})]) == [Score(12.0)]


def test_a_function_with_keyword_arguments_gets_all_facts(function):
    source = function("def score(completion, **facts): return facts['n']")
    assert source.score([_completion(facts={"n": 3})]) == [Score(3.0)]


def test_none_abstains_and_a_zero_is_a_zero(function):
    none, zero = function("def score(completion): return None"), function("def score(completion): return 0")
    assert none.score([_completion()])[0].value is None
    assert zero.score([_completion()])[0] == Score(0.0)


def test_a_batch_function_gets_lists(function):
    source = function("def score(completion, prompt): return [len(c) for c in completion]", batch=True)
    assert source.score([_completion("ab"), _completion("abc")]) == [Score(2.0), Score(3.0)]
    short = function("def score(completion): return [1.0]", batch=True)
    with pytest.raises(RewardError, match="must give a list of 2 numbers"):
        short.score([_completion(), _completion()])


BAD = {
    "def score(completion): return 1 / 0": r"rows\.jsonl:4, completion 'the cat sat': ZeroDivisionError.*\(line 1\)",
    "def score(completion): return 'good'": "it gave 'good' for",
    "def score(completion): return float('nan')": "it gave nan for",
    "def score(completion, colour): return 1": "it asks for 'colour', which rows.jsonl:4 does not have",
}


@pytest.mark.parametrize("code", BAD)
def test_a_bad_function_names_itself_and_the_completion(function, code):
    with pytest.raises(RewardError, match=BAD[code]):
        function(code).score([_completion()])


def test_a_missing_file_or_function_is_found_before_any_work(function, tmp_path):
    with pytest.raises(PluginError, match=r"no such function. Did you mean 'score'"):
        function("def score(completion): return 1", function="scores")
    with pytest.raises(PluginError, match=r"there is no file nothing\.py"):
        PythonFunction(PythonFunction.Options(file="nothing.py"), Context("mine", tmp_path))
    with pytest.raises(PluginError, match="does not load: SyntaxError"):
        function("def score(:")


def test_recorded_scores_come_back_and_a_missing_one_is_a_failure_not_a_zero():
    source = RecordedScore(RecordedScore.Options(column="s"))
    prompt = Prompt("p")
    found = source.score([Completion(prompt, "a", recorded_scores={"s": 0.0}), Completion(prompt, "b")])
    assert found[0] == Score(0.0)
    assert found[1].value is None
    assert "no recorded score 's'" in found[1].failure


# Learned rewards -----------------------------------------------------------------------------------------------------

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_labels": 1,
}
TEXTS = ["sat on the mat", "ran", "the dog was happy and then it was sad", "it sat", "cat"]


def _model(folder, **options):
    return RewardModel(RewardModel.Options(model=str(folder), **options), Context("learned"))


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
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), initializer_range=0.5, **SMALL)).eval()
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


def test_a_chat_goes_through_the_template_without_a_second_bos(tiny_reward_folder, tmp_path):
    import shutil

    folder = tmp_path / "chat"
    shutil.copytree(tiny_reward_folder, folder)
    (folder / "chat_template.jinja").write_text("<bos>{% for m in messages %}{{ m.content }} . {% endfor %}")
    source = _model(folder, input="chat")
    source._load()
    assert source._encode(_completion("ran", "the cat"))[0]["input_ids"].count(1) == 1
    with pytest.raises(ModelError, match="has no chat template"):
        _values(_model(tiny_reward_folder, input="chat"))


def test_what_is_too_long_loses_the_start_of_its_prompt_is_counted_and_said(tiny_reward_folder):
    source = _model(tiny_reward_folder, max_tokens=6)
    completion = _completion("ran", "the cat sat on the mat and then it was happy :")
    (score,) = source.score([completion])
    assert score.notes == {"truncated": 1.0}
    assert "1 of 1 inputs are longer than 6 tokens" in source.context.progress.warnings[0]
    source._load()
    ids = source._encode(completion)[0]["input_ids"]
    assert len(ids) == 6
    assert ids[0] == 1
    assert ids[-1] == tiny_tokenizer().convert_tokens_to_ids("ran")


def test_more_than_one_output_is_refused_with_the_reason(tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), **SMALL | {"num_labels": 3})
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="has 3 outputs; a reward model has one"):
        _values(_model(tmp_path))


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
    import shutil

    same = _model(tiny_reward_folder).fingerprint()
    assert same == _model(tiny_reward_folder).fingerprint()
    assert same != _model(tiny_reward_folder, append_eos=True).fingerprint()
    shutil.copytree(tiny_reward_folder, tmp_path / "other")
    weights = tmp_path / "other/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert _model(tmp_path / "other").fingerprint().split(":")[-1] != same.split(":")[-1]
