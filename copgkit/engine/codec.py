"""Where text becomes token ids and back; nothing else in the engine knows a tokenizer.

A `Codec` turns prompts and completions into ids. `TokenizerCodec` is for language models. `IntegerCodec` reads and
writes numbers ("3 1 4"), for small models over plain sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from copgkit.errors import DataError, ModelError
from copgkit.types import Completion, Prompt

TokenIds = tuple[int, ...]


class Codec(Protocol):
    """Text to ids and back.

    stop_ids: the ids that end a completion, end-of-sequence first.
    """

    @property
    def stop_ids(self) -> TokenIds: ...

    def prompt_ids(self, prompt: Prompt) -> TokenIds:
        """The ids of a prompt, never ended by end-of-sequence. Raises DataError if there are none."""
        ...

    def text_ids(self, text: str) -> TokenIds:
        """The ids of a completion's text as it stands, without end-of-sequence."""
        ...

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of generated ids, without special tokens."""
        ...

    def save(self, folder: Path) -> None:
        """Writes what is needed to read the model's ids."""
        ...


def completion_ids(codec: Codec, completion: Completion) -> TokenIds:
    """The ids of a completion: those it was generated with, else its text's, with end-of-sequence if it is finished."""
    if completion.token_ids is not None:
        return completion.token_ids
    _require_whole(completion.text, f"{completion.prompt.place}, a completion")
    ids = codec.text_ids(completion.text)
    ended = bool(ids) and ids[-1] in codec.stop_ids
    return (*ids, codec.stop_ids[0]) if completion.finished and not ended else ids


@dataclass
class TokenizerCodec:
    """The codec of a transformers tokenizer.

    stop_ids: the tokenizer's end-of-sequence first, then the others that the model was taught to stop at.
    """

    tokenizer: Any
    stop_ids: TokenIds
    _known: dict[str, TokenIds] = field(default_factory=dict, repr=False)

    def prompt_ids(self, prompt: Prompt) -> TokenIds:
        """A text takes the tokenizer's own special tokens in front; a conversation takes what its chat template
        writes, ready for the model's turn. Kept by content: every prompt is tokenised once."""
        key = prompt.content_key
        if key not in self._known:
            _require_whole(prompt.text, f"{prompt.place}, the prompt")
            ids = self._conversation_ids(prompt) if prompt.is_conversation else self._plain_ids(prompt)
            if not ids:
                raise DataError(f"{prompt.place}: the prompt is empty for this tokenizer. Give it some text.")
            self._known[key] = ids
        return self._known[key]

    def text_ids(self, text: str) -> TokenIds:
        """No special tokens, nothing stripped: a leading space is the data's affair."""
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def text(self, token_ids: Sequence[int]) -> str:
        """Decoded; special tokens are skipped."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        """The tokenizer's files."""
        self.tokenizer.save_pretrained(folder)

    def _plain_ids(self, prompt: Prompt) -> TokenIds:
        """BERT's and T5's kind of tokenizer closes every text with [SEP] or </s>. A prompt goes on, so that mark is
        taken off again, unless the prompt's own text ends with it."""
        ids = tuple(self.tokenizer(prompt.text, verbose=False)["input_ids"])
        own_ids = self.text_ids(prompt.text)
        closing = {*self.stop_ids, self.tokenizer.sep_token_id}
        while ids and ids[-1] in closing and (not own_ids or ids[-len(own_ids) :] != own_ids):
            ids = ids[:-1]
        return ids

    def _conversation_ids(self, prompt: Prompt) -> TokenIds:
        if not getattr(self.tokenizer, "chat_template", None):
            raise ModelError(
                f"{prompt.place}: this prompt is a conversation and the tokenizer has no chat template. Use a chat"
                " model, give policy.chat_template, or give the prompt as plain text."
            )
        turns = [dict(turn) for turn in prompt.content if not isinstance(turn, str)]
        try:
            written = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        except Exception as fault:  # a template is a program of the model's makers, and may raise what it likes
            raise ModelError(
                f"{prompt.place}: the chat template does not take this conversation ({type(fault).__name__}: {fault})."
                " Change its roles or their order, or give policy.chat_template."
            ) from fault
        return self.text_ids(written)  # the template writes beginning-of-sequence itself


def _require_whole(text: str, where: str) -> None:
    """Raises DataError for half a character (a lone surrogate), which JSON can hold and no tokenizer reads."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as fault:
        half = f"U+{ord(text[fault.start]):04X}"
        raise DataError(f"{where}: it holds half a character ({half}). Remove it, or write the whole one.") from fault


@dataclass(frozen=True)
class IntegerCodec:
    """Prompts and completions are whole numbers as text, "3 1 4"; each is a token id."""

    stop_ids: TokenIds

    def prompt_ids(self, prompt: Prompt) -> TokenIds:
        """The numbers of the prompt's text."""
        ids = self.text_ids(prompt.text)
        if not ids:
            raise DataError(f"{prompt.place}: the prompt is empty. Give it at least one number.")
        return ids

    def text_ids(self, text: str) -> TokenIds:
        """The numbers of the text. Raises DataError if it holds anything else."""
        try:
            return tuple(int(word) for word in text.split())
        except ValueError:
            raise DataError(f"{text!r}: not whole numbers separated by spaces, which this policy reads.") from None

    def text(self, token_ids: Sequence[int]) -> str:
        """The ids as numbers, end-of-sequence left out."""
        return " ".join(str(token_id) for token_id in token_ids if token_id not in self.stop_ids)

    def save(self, folder: Path) -> None:
        """Nothing: numbers need no vocabulary."""
