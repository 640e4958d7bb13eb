"""The model and the tokens that both programs get: random weights in a folder, random words, the same for both.

The tokenizer has one word for each id, so that text stands for exactly the ids that were drawn: TRL tokenises text,
copgkit takes ids or text, and both arrive at the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cells import Cell, Shape

PAD, END = 0, 1
"""Ids of the tokenizer's two special tokens; words begin after them."""


@dataclass(frozen=True)
class TokenGroup:
    """A prompt's ids, those of its completions, each with end-of-sequence last, and a reward for each."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    rewards: tuple[float, ...]


def draw_groups(cell: Cell, number: int, seed: int = 0) -> list[TokenGroup]:
    """Groups of random words with the cell's lengths."""
    drawn = random.Random(seed)

    def words(count: int) -> tuple[int, ...]:
        return tuple(drawn.randrange(END + 1, cell.shape.vocabulary) for _ in range(count))

    return [
        TokenGroup(
            words(cell.prompt),
            tuple((*words(cell.completion - 1), END) for _ in range(cell.completions_per_prompt)),
            tuple(drawn.gauss(0, 1) for _ in range(cell.completions_per_prompt)),
        )
        for _ in range(number)
    ]


def text_of(ids: Sequence[int]) -> str:
    """The words of these ids, special tokens left out."""
    return " ".join(_word(token_id) for token_id in ids if token_id > END)


@contextmanager
def model_folder(shape: Shape, positions: int) -> Iterator[Path]:
    """A folder with a Llama of this shape and its tokenizer, gone afterwards."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=positions,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
        tie_word_embeddings=False,
    )
    with TemporaryDirectory(prefix="copgkit-benchmark-") as folder:
        LlamaForCausalLM(config).save_pretrained(folder)
        _save_tokenizer(shape.vocabulary, folder)
        yield Path(folder)


def _save_tokenizer(vocabulary: int, folder: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<end>", *(_word(token_id) for token_id in range(END + 1, vocabulary))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="left"
    ).save_pretrained(folder)


def _word(token_id: int) -> str:
    return f"w{token_id}"
