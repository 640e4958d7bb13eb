"""From prompt and completion to the token ids of a classifier, within its limit.

Only the prompt is ever shortened: what is judged is the completion. For a chat the longest turn of the prompt gives
way, so that the template's own marks stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from copgkit import Completion, Message, ModelError

Content = str | tuple[Message, ...]


class TooLong(Exception):
    """The input does not fit and may not be shortened (any further); the message gives the numbers."""


@dataclass(frozen=True)
class Input:
    """Token ids, and types for a pair, by the names of the model's arguments. truncated: the prompt lost a part."""

    tokens: Mapping[str, list[int]]
    truncated: bool = False


@dataclass(frozen=True)
class Encoder:
    """Encodes in one form. where: how messages name the reward source."""

    tokenizer: Any
    form: Literal["joined", "pair", "chat"]
    limit: int
    truncate: Literal["prompt-start", "prompt-end", "refuse"]
    append_eos: bool
    where: str

    def encode(self, contents: Sequence[Content], completions: Sequence[Completion]) -> list[Input | str]:
        """The input for each prompt's content and completion, or why it does not fit."""
        if self.form == "chat":
            return [_unless_too_long(self._chat, *both) for both in zip(contents, completions, strict=True)]
        texts = [
            content if isinstance(content, str) else completion.prompt.text
            for content, completion in zip(contents, completions, strict=True)
        ]
        if self.form == "pair":
            return [_unless_too_long(self._pair, *both) for both in zip(texts, completions, strict=True)]
        distinct = list(dict.fromkeys(texts))  # a prompt has several completions
        ids = dict(zip(distinct, self._all_ids(distinct), strict=True))
        tails = self._all_ids([completion.text for completion in completions], add_special_tokens=False)
        return [
            _unless_too_long(self._joined, ids[text], tail, completion.finished)
            for text, tail, completion in zip(texts, tails, completions, strict=True)
        ]

    def _joined(self, ids: list[int], tail: list[int], finished: bool) -> Input:
        known = self.tokenizer
        closing = {known.eos_token_id, known.sep_token_id} - {None}
        if len(ids) > 1 and ids[-1] in closing:
            ids = ids[:-1]  # the text goes on with the completion
        opening = ids[:1] if ids and ids[0] in {known.bos_token_id, known.cls_token_id} else []
        if self.append_eos and finished and known.eos_token_id is not None:
            tail = [*tail, known.eos_token_id]
        middle = ids[len(opening) :]
        room = self._room(len(ids) + len(tail), len(middle))
        return Input({"input_ids": opening + self._part(middle, room) + tail}, room < len(middle))

    def _pair(self, text: str, completion: Completion) -> Input:
        full = dict(self.tokenizer(text, completion.text, verbose=False))
        length = len(full["input_ids"])
        prompt = len(self._ids(text, add_special_tokens=False))
        if self._room(length, prompt) == prompt:
            return Input(full)
        self.tokenizer.truncation_side = "left" if self.truncate == "prompt-start" else "right"
        cut = self.tokenizer(text, completion.text, truncation="only_first", max_length=self.limit)
        return Input(dict(cut), truncated=True)

    def _chat(self, content: Content, completion: Completion) -> Input:
        turns = [dict(turn) for turn in content] if not isinstance(content, str) else [_turn("user", content)]
        longest = max(turns, key=lambda turn: len(turn["content"]))
        turns.append(_turn("assistant", completion.text))
        left = self._ids(longest["content"], add_special_tokens=False)
        ids = whole = self._templated(turns)
        while len(ids) > self.limit:  # text that is cut and encoded again may have a token more than was counted
            left = self._part(left, self._room(len(ids), len(left)))
            longest["content"] = self.tokenizer.decode(left)
            ids = self._templated(turns)
        return Input({"input_ids": ids}, truncated=ids is not whole)

    def _templated(self, turns: list[dict[str, Any]]) -> list[int]:
        if not self.tokenizer.chat_template:
            raise ModelError(f"{self.where}: its tokenizer has no chat template; use `input: joined`.")
        text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        return self._ids(text, add_special_tokens=False)  # the template wrote its own

    def _ids(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return self._all_ids([text], add_special_tokens)[0]

    def _all_ids(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """In one call: a fast tokenizer takes many texts in half of the time."""
        if not texts:
            return []
        return list(self.tokenizer(list(texts), add_special_tokens=add_special_tokens, verbose=False)["input_ids"])

    def _room(self, length: int, prompt: int) -> int:
        """How many of the prompt's tokens fit, at least one. Raises TooLong."""
        if length <= self.limit:
            return prompt
        if self.truncate == "refuse":
            raise TooLong(f"the input has {length} tokens and the limit is {self.limit}. See max_tokens and truncate")
        room = prompt - (length - self.limit)
        if room < 1:
            raise TooLong(
                f"the completion and what belongs to it have {length - prompt} tokens, which leaves no room for the"
                f" prompt within {self.limit}. Raise max_tokens"
            )
        return room

    def _part(self, ids: list[int], room: int) -> list[int]:
        """The tokens of the prompt that stay."""
        return ids[len(ids) - room :] if self.truncate == "prompt-start" else ids[:room]


def _unless_too_long(encode: Callable[..., Input], *given: Any) -> Input | str:
    try:
        return encode(*given)
    except TooLong as fault:
        return str(fault)


def _turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}
