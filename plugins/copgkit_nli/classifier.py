"""An entailment classifier that reads long sources in windows.

A source longer than a window is read in several that overlap, so that nothing of it is cut away. A sentence longer than
`sentence_tokens` is halved, at the white space nearest its middle, until its parts fit. The classifier works without
gradient and dropout, on batches of similar length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from copgkit import ModelError
from copgkit_nli.aggregation import Support
from copgkit_nli.labels import Labels, UnclearLabels, read_labels

UNBOUNDED = 1 << 20  # tokenizers without a limit of their own state an astronomic one


class Reading(NamedTuple):
    """How sources are read, in tokens."""

    window: int
    overlap: int
    sentence: int


class Classifier:
    """A loaded checkpoint. `where` is how messages name it."""

    def __init__(self, model: Any, tokenizer: Any, labels: Labels, reading: Reading, where: str) -> None:
        self.labels, self.reading = labels, reading
        self._model, self._tokenizer = model, tokenizer
        self._marks = tokenizer.num_special_tokens_to_add(pair=True)
        self._limit = min(tokenizer.model_max_length, _positions(model.config) or UNBOUNDED, UNBOUNDED)
        needed = reading.sentence + reading.overlap + self._marks + 1
        if needed > self._limit:
            raise ModelError(
                f"{where}: the model reads {self._limit} tokens, fewer than the {needed} that a sentence of"
                f" {reading.sentence} beside an overlap of {reading.overlap} needs. Lower sentence_tokens or"
                " overlap_tokens."
            )

    @classmethod
    def load(
        cls, source: str, revision: str | None, given: dict[str, int] | None, reading: Reading, dtype: str, where: str
    ) -> Classifier:
        """Reads tokenizer and weights (safetensors only). Raises ModelError for what cannot serve."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(source, revision=revision or "main")
            model, info = AutoModelForSequenceClassification.from_pretrained(
                source, revision=revision or "main", dtype=dtype, use_safetensors=True, output_loading_info=True
            )
            labels = read_labels({int(index): name for index, name in model.config.id2label.items()}, given)
        except UnclearLabels as fault:
            raise ModelError(f"{where}: {fault}") from fault
        except Exception as fault:  # a damaged file makes each library raise exceptions of its own
            reason = next((line for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
            raise ModelError(
                f"{where}: it cannot be loaded: {reason} Correct the name, or download it first."
            ) from fault
        if info["missing_keys"]:
            raise ModelError(
                f"{where}: the checkpoint lacks {sorted(info['missing_keys'])[0]}, so its answers would be random."
                " Name a model that was trained to classify entailment."
            )
        if not tokenizer.is_fast:
            raise ModelError(f"{where}: its tokenizer cannot read in windows. Name a model with a tokenizer.json.")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id  # decoder models look for the last token that is no padding
        return cls(model.eval(), tokenizer, labels, reading, where)

    def to(self, device: str) -> Classifier:
        """Moves it there."""
        self._model.to(device)
        return self

    def parts(self, sentence: str) -> list[str]:
        """The sentence, or its parts where it is longer than allowed; nothing if the tokenizer sees nothing in it."""
        count = self._count(sentence)
        if count <= self.reading.sentence:
            return [sentence] if count else []
        middle = _middle(sentence)
        return [*self.parts(sentence[:middle].strip()), *self.parts(sentence[middle:].strip())]

    def windows(self, source: str, hypothesis: str) -> list[dict[str, list[int]]]:
        """The inputs that together show the whole source, each beside the whole hypothesis."""
        beside = self._marks + self._count(hypothesis)
        encoded = self._tokenizer(
            source,
            hypothesis,
            truncation="only_first",
            max_length=min(self.reading.window + beside, self._limit),
            stride=self.reading.overlap,
            return_overflowing_tokens=True,
        )
        names = [name for name in self._tokenizer.model_input_names if name in encoded and name != "attention_mask"]
        return [{name: encoded[name][w] for name in names} for w in range(len(encoded["input_ids"]))]

    def supports(self, inputs: Sequence[dict[str, list[int]]], batch_size: int) -> list[Support]:
        """The probabilities for each input, in order; batches hold inputs of similar length."""
        import torch

        order = sorted(range(len(inputs)), key=lambda index: len(inputs[index]["input_ids"]))
        found: dict[int, Support] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            padded = self._tokenizer.pad([inputs[index] for index in batch], return_tensors="pt")
            with torch.inference_mode():
                logits_BL = self._model(**padded.to(self._model.device)).logits
            rows = logits_BL.float().softmax(-1).tolist()
            found |= {index: self._support(row) for index, row in zip(batch, rows, strict=True)}
        return [found[index] for index in range(len(inputs))]

    def _support(self, probabilities: Sequence[float]) -> Support:
        contradiction = self.labels.contradiction
        return Support(
            probabilities[self.labels.entailment], 0.0 if contradiction is None else probabilities[contradiction]
        )

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _positions(config: Any) -> int | None:
    """The longest input that the architecture has positions for; RoBERTa's count from behind the padding index."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions and config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer"):
        return positions - int(config.pad_token_id) - 1
    return positions


def _middle(text: str) -> int:
    """Where to halve a text: at the white space nearest its middle, or in the middle of a text without any."""
    half = len(text) // 2
    spaces = [index for index, letter in enumerate(text) if letter.isspace()]
    return min(spaces, key=lambda index: abs(index - half), default=half)
