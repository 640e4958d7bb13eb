"""The recipes that load public checkpoints and data, run on small stand-ins of the same architecture."""

import json
from pathlib import Path

import pytest
from conftest import tiny_tokenizer

import copgkit

RECIPES = Path(__file__).parent.parent / "recipes"
POSTS = [
    {"subreddit": "sad", "title": who, "post": f"the {who} sat on the {where} . then it ran .", "summary": "ran"}
    for who in ("cat", "dog", "a", "b")
    for where in ("mat", "hill")
]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SHORT_RUN = {
    "policy.max_completion_tokens": 8,
    "prompts.options.limit": 8,
    "evaluate.prompts.options.limit": 4,
    "train.epochs": 1,
    "train.groups_per_step": 4,
}


@pytest.fixture
def stand_in(tmp_path):
    """stand_in(model class, config class, name, **settings) -> a folder with a small random model and its tokenizer."""
    import torch

    def make(model, config, name="", **settings):
        tokenizer = tiny_tokenizer()
        torch.manual_seed(0)
        marks = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3}
        folder = tmp_path / (name or model.__name__)
        model(config(vocab_size=len(tokenizer), **SMALL, **marks, **settings)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture
def posts(tmp_path):
    """A folder with train.jsonl and validation.jsonl, which `datasets` loads by the folder's name."""
    folder = tmp_path / "posts"
    folder.mkdir()
    rows = [{**post, "prompt": post["post"] + " :", "completion": post["summary"]} for post in POSTS]
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


MBPP_CARD = """---
configs:
- config_name: sanitized
  data_files:
  - {split: train, path: train.jsonl}
  - {split: validation, path: validation.jsonl}
  - {split: prompt, path: prompt.jsonl}
  - {split: test, path: test.jsonl}
---
"""


@pytest.fixture
def mbpp(tmp_path):
    """A folder with the configuration, the splits and the fields of MBPP's sanitized version."""
    folder = tmp_path / "mbpp"
    folder.mkdir()
    (folder / "README.md").write_text(MBPP_CARD)
    for number, split in enumerate(("train", "validation", "prompt", "test")):
        rows = [
            {
                "source_file": "b",
                "task_id": 10 * number + index,
                "prompt": f"a cat sat {index} .",
                "code": f"def sat(x):\n    return x + {index}",
                "test_imports": ["import math"],
                "test_list": [f"assert sat({x}) == {x + index}" for x in range(3)],
            }
            for index in range(4)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def check_result(result):
    assert result.steps == 2
    assert {"reward/mean", "kl/mean", "win-rate/share"} <= {line.name for line in result.summary.lines}
    assert (result.folder / "model" / "config.json").exists()


def test_the_pythia_recipe_runs_in_bf16_with_gradient_checkpointing(stand_in, posts, tmp_path):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, GPTNeoXForSequenceClassification

    changes = {
        "policy.model": stand_in(GPTNeoXForCausalLM, GPTNeoXConfig, max_position_embeddings=64),
        "policy.max_prompt_tokens": 32,
        "rewards[0].options.model": stand_in(
            GPTNeoXForSequenceClassification, GPTNeoXConfig, max_position_embeddings=64, num_labels=1
        ),
        "prompts.options.dataset": str(posts),
        "evaluate.prompts.options.dataset": str(posts),
    }
    result = copgkit.run(RECIPES / "tldr-pythia-1b.yaml", set=SHORT_RUN | changes, output=tmp_path / "out")
    check_result(result)
    assert json.loads((result.folder / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_reddit_recipe_runs_with_a_decoder_and_a_pair_classifier_of_berts_shape(stand_in, posts, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification, BertLMHeadModel

    changes = {
        "policy.model": stand_in(BertLMHeadModel, BertConfig, is_decoder=True, max_position_embeddings=64),
        "policy.max_prompt_tokens": 48,
        "rewards[0].options.model": stand_in(
            BertForSequenceClassification, BertConfig, num_labels=1, max_position_embeddings=64
        ),
        "rewards[0].options.max_tokens": 48,
        "prompts.options.path": str(posts / "train.jsonl"),
        "evaluate.prompts.options.path": str(posts / "validation.jsonl"),
    }
    check_result(copgkit.run(RECIPES / "tldr-reddit.yaml", set=SHORT_RUN | changes, output=tmp_path / "out"))


NLI = {"num_labels": 3, "id2label": {0: "entailment", 1: "neutral", 2: "contradiction"}, "max_position_embeddings": 64}
NLI_OPTIONS = {"window_tokens": 16, "overlap_tokens": 4, "sentence_tokens": 16}
GUARDED = {"eval/nli/raw-mean", "eval/copy-rate/raw-mean", "eval/length/raw-mean", "eval/format/raw-mean"}


def check_panel(result):
    check_result(result)
    assert result.rows[-1].keys() >= GUARDED
    assert any("reward/nli/weighted-mean" in row for row in result.rows)


def test_the_nli_recipe_runs_with_all_its_judges_on_models_of_berts_shape(stand_in, posts, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification, BertLMHeadModel

    changes = {
        "policy.model": stand_in(BertLMHeadModel, BertConfig, is_decoder=True, max_position_embeddings=64),
        "policy.max_prompt_tokens": 48,
        "rewards[0].options.model": stand_in(
            BertForSequenceClassification, BertConfig, num_labels=1, max_position_embeddings=64
        ),
        "rewards[0].options.max_tokens": 48,
        "rewards[1].options.model": stand_in(BertForSequenceClassification, BertConfig, "nli", **NLI),
        "prompts.options.path": str(posts / "train.jsonl"),
        "evaluate.prompts.options.path": str(posts / "validation.jsonl"),
    }
    small = {f"rewards[1].options.{name}": value for name, value in NLI_OPTIONS.items()}
    result = copgkit.run(RECIPES / "tldr-nli.yaml", set=SHORT_RUN | changes | small, output=tmp_path / "out")
    check_panel(result)


def test_the_pythia_nli_recipe_runs_with_an_entailment_model_of_debertas_shape(stand_in, posts, tmp_path):
    from transformers import (
        DebertaV2Config,
        DebertaV2ForSequenceClassification,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        GPTNeoXForSequenceClassification,
    )

    shape = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16, "type_vocab_size": 0}
    changes = {
        "policy.model": stand_in(GPTNeoXForCausalLM, GPTNeoXConfig, max_position_embeddings=64),
        "policy.max_prompt_tokens": 32,
        "rewards[0].options.model": stand_in(
            GPTNeoXForSequenceClassification, GPTNeoXConfig, max_position_embeddings=64, num_labels=1
        ),
        "rewards[1].options.model": stand_in(
            DebertaV2ForSequenceClassification, DebertaV2Config, norm_rel_ebd="layer_norm", **shape, **NLI
        ),
        "prompts.options.dataset": str(posts),
        "evaluate.prompts.options.dataset": str(posts),
    }
    small = {f"rewards[1].options.{name}": value for name, value in NLI_OPTIONS.items()}
    result = copgkit.run(RECIPES / "tldr-nli-pythia.yaml", set=SHORT_RUN | changes | small, output=tmp_path / "out")
    check_panel(result)


def test_the_mbpp_recipe_runs_with_a_chat_model_of_qwens_shape(stand_in, mbpp, tmp_path):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model = stand_in(Qwen2ForCausalLM, Qwen2Config, max_position_embeddings=128, num_key_value_heads=2)
    (Path(model) / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }} . {% endfor %}")
    changes = {
        "policy.model": model,
        "policy.max_prompt_tokens": 112,
        "prompts.options.dataset": str(mbpp),
        "evaluate.prompts.options.dataset": str(mbpp),
    }
    result = copgkit.run(RECIPES / "mbpp-qwen.yaml", set=SHORT_RUN | changes, output=tmp_path / "out")
    assert result.steps == 2
    assert {"pass@1/share", "pass@8/share", "kl/mean"} <= {line.name for line in result.summary.lines}
    (group, *_) = (result.folder / "groups" / "round-0000.jsonl").read_text().splitlines()
    told = json.loads(group)["prompt"]
    assert told[0]["role"] == "user"
    assert "assert sat(0) ==" in told[0]["content"]
