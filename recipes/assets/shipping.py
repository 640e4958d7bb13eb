"""What the builds of both worlds share: tokenizer, a small Llama's configuration, folders, pieces of cards."""

import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with bos in front and no eos."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


def policy_config(tokenizer: PreTrainedTokenizerFast, layers: int = 4) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, padding_side: str) -> None:
    tokenizer.padding_side = padding_side
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def scaled(count: int, scale: float) -> int:
    return max(int(count * scale), 64)


# ---- cards


def write_card(folder: Path, card: str) -> None:
    (folder / "README.md").write_text(card, encoding="utf-8")
    print(card)


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def cost(name: str, figures: dict[str, float]) -> str:
    return (
        f"{name}: {figures['steps']} steps, {figures['seconds']:.0f} s, {figures['tokens_per_second']:.0f} tokens/s, "
        f"last loss {figures['loss']:.3f}"
    )


def parameters(model: torch.nn.Module) -> str:
    return f"{sum(weights.numel() for weights in model.parameters()):,}"


def common_to_cards(parts: Mapping[str, Sequence[Any]], seed: int, started: float) -> dict[str, str]:
    """How many posts or tasks each use had, the seed, and what the build took."""
    counts = {name.replace("-", "_"): f"{len(part):,}" for name, part in parts.items()}
    machine = (
        f"{(time.time() - started) / 60:.1f} minutes in all with {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()}"
    )
    return {**counts, "seed": str(seed), "machine": machine}
