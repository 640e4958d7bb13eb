"""Loads models and tokenizers in Hugging Face format, and says what is wrong in words where that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copgkit.errors import ModelError
from copgkit.types import Prompt


@dataclass(frozen=True)
class Text:
    """A tokenizer's three uses in training: prompts to ids, completions to ids, ids to text."""

    tokenizer: Any

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The prompt with the special tokens that open a text and without those that close one.

        A conversation goes through the chat template, which writes its own special tokens: none are added to them.
        """
        if prompt.is_conversation:
            if not self.tokenizer.chat_template:
                raise ModelError(
                    f"{prompt.place}: the prompt is a conversation and the tokenizer has no chat template."
                    " Give policy.chat_template, or plain-text prompts."
                )
            text = self.tokenizer.apply_chat_template(list(prompt.content), tokenize=False, add_generation_prompt=True)
            return self._plain(text)
        return self._opening() + self._plain(prompt.text)

    def completion_ids(self, text: str) -> list[int]:
        """The text without any special token."""
        return self._plain(text)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids without special tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _opening(self) -> list[int]:
        """What the tokenizer puts in front of a text: all it adds to the empty text but a closing token."""
        added = list(self.tokenizer("")["input_ids"])
        closing = {self.tokenizer.eos_token_id, self.tokenizer.sep_token_id} - {self.tokenizer.bos_token_id}
        while added and added[-1] in closing:
            added.pop()
        return added


def load_model(model: str, revision: str | None, dtype: str, attention: str | None, trust_remote_code: bool) -> Any:
    """A causal language model in evaluation mode, weights from safetensors only."""
    from transformers import AutoModelForCausalLM

    options = {"attn_implementation": attention} if attention else {}
    try:
        return AutoModelForCausalLM.from_pretrained(
            model,
            revision=revision or "main",
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            **options,
        ).eval()
    except (OSError, ValueError, KeyError, ImportError) as fault:
        raise ModelError(_explain("policy.model", model, fault)) from fault


def load_tokenizer(source: str, revision: str | None, chat_template: str | None, trust_remote_code: bool) -> Text:
    """The tokenizer of a checkpoint; chat_template is a Jinja file that replaces its template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, revision=revision or "main", trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, ImportError, TypeError) as fault:
        raise ModelError(_explain("policy.tokenizer", source, fault)) from fault
    if chat_template is not None:
        try:
            tokenizer.chat_template = Path(chat_template).read_text()
        except OSError as fault:
            raise ModelError(f"policy.chat_template: {chat_template} cannot be read ({fault.strerror}).") from fault
    return Text(tokenizer)


def _explain(key: str, source: str, fault: Exception) -> str:
    lines = [line for line in str(fault).splitlines() if line.strip()]
    reason = lines[0] if lines else type(fault).__name__
    if Path(source).is_dir():
        return f"{key}: {source} is a folder that transformers cannot load: {reason}"
    return (
        f"{key}: there is no folder '{source}' beside the recipe, and the hub did not give a model of that name:"
        f" {reason} Correct the path, or download the model first."
    )
