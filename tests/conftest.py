"""Tiny models with random weights, made on the spot: the tests need no network and no checkpoint."""

import json
import os
import tempfile
from pathlib import Path

import pytest

# Whatever asks a hub must fail at once instead of reaching out. Hub libraries read this when they are imported, which
# may be while tests are collected, before any fixture runs.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are so small that threads wait for each other longer than they compute. torch reads this on import.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COLUMNS"] = "120"  # the width of the terminal, wherever and in however many processes the tests run
# No test may read what an earlier one, or a run of the user's, has scored; and metric scripts are copied into a folder
# and imported from there. Both folders go with the tests.
_CACHE = tempfile.TemporaryDirectory(prefix="copgkit-tests-")
os.environ["COPGKIT_CACHE"] = f"{_CACHE.name}/scores"
os.environ["HF_MODULES_CACHE"] = f"{_CACHE.name}/modules"

WORDS = ("the cat dog sat ran on under mat hill and then it was happy sad ? . : a b c").split()  # noqa: SIM905


def tiny_tokenizer():
    """A word-level tokenizer with bos in front, no eos behind, as language models have."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def _settings(vocabulary_size):
    return {
        "vocab_size": vocabulary_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


@pytest.fixture(autouse=True)
def _own_score_store(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("COPGKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def tiny_policy_folder(tmp_path_factory) -> Path:
    """A Llama of two layers with random weights, saved as a Hugging Face folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "policy"
    LlamaForCausalLM(LlamaConfig(**_settings(len(tokenizer)))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_reward_folder(tmp_path_factory) -> Path:
    """A Llama classifier with one output and random weights, saved as a Hugging Face folder."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = tiny_tokenizer()
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("models") / "reward"
    config = LlamaConfig(**_settings(len(tokenizer)), num_labels=1, initializer_range=0.5)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def write_jsonl(tmp_path):
    """write_jsonl("posts.jsonl", rows) -> path."""

    def write(name, rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def copgkit_command(capsys):
    """copgkit_command("check", "r.yaml") -> exit status, standard output, standard error."""
    from copgkit.cli import main

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return call
