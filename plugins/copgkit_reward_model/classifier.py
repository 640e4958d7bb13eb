"""A sequence classifier: loading it, choosing its output, and running it on batches.

Tensors: B inputs of a batch, T tokens, H outputs of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from copgkit import ModelError
from copgkit_reward_model.encoding import Input
from copgkit_reward_model.families import batches, families


@dataclass(frozen=True)
class Classifier:
    """A model in evaluation mode with its tokenizer. head: the output that is the score. limit: the longest input.
    shares: whether it reads what inputs have in common once."""

    model: Any
    tokenizer: Any
    head: int
    limit: int
    pad_id: int
    shares: bool

    @classmethod
    def load(cls, source: str, options: Any, device: str, where: str) -> Classifier:
        """The classifier of a folder or hub name. Raises ModelError with the remedy if it cannot be the reward."""
        from copgkit_reward_model.sharing import can_share

        model, tokenizer = _loaded(source, options, device, where)
        head = _head(model.config, options, where)
        pad_id = next(
            (int(found) for found in (tokenizer.pad_token_id, tokenizer.eos_token_id) if found is not None), None
        )
        if pad_id is None:
            raise ModelError(f"{where}: the tokenizer has neither pad nor eos token.")
        if model.config.pad_token_id is None:
            model.config.pad_token_id = pad_id  # decoder models look for the last token that is not padding
        longest = (
            options.max_tokens,
            tokenizer.model_max_length,
            getattr(model.config, "max_position_embeddings", None),
        )
        limit = min(length for length in longest if length)
        return cls(model.eval(), tokenizer, head, limit, pad_id, can_share(model, pad_id, limit, _device(model)))

    def values(self, inputs: Sequence[Input], batch_size: int) -> list[float]:
        """The chosen output for each input, in order; inputs that begin alike are read together if the model can."""
        import torch

        shares = self.shares and all(set(each.tokens) <= {"input_ids", "attention_mask"} for each in inputs)
        values = [0.0] * len(inputs)
        with torch.inference_mode():
            for members, logits_BH in (self._by_family if shares else self._one_by_one)(inputs, batch_size):
                for member, value in zip(members, logits_BH.float()[:, self.head].tolist(), strict=True):
                    values[member] = value
        return values

    def _by_family(self, inputs: Sequence[Input], batch_size: int) -> Iterator[tuple[list[int], Any]]:
        """The numbers of a batch's inputs with their outputs [B, H]."""
        from copgkit_reward_model.sharing import read_families

        rows = [self._up_to_the_end(each.tokens["input_ids"]) for each in inputs]
        for batch in batches(families(rows), batch_size):
            members = [member for family in batch for member in family.members]
            yield members, read_families(self.model, batch, rows, _device(self.model))

    def _one_by_one(self, inputs: Sequence[Input], batch_size: int) -> Iterator[tuple[list[int], Any]]:
        """The same, every input read whole."""
        by_length = sorted(range(len(inputs)), key=lambda number: len(inputs[number].tokens["input_ids"]))
        for start in range(0, len(inputs), batch_size):
            members = by_length[start : start + batch_size]
            yield members, self.model(**self._padded([inputs[member] for member in members])).logits

    def _up_to_the_end(self, row: Sequence[int]) -> Sequence[int]:
        """The tokens up to the last that is not padding (perhaps the end-of-sequence), where a classifier looks."""
        last = next((place for place in reversed(range(len(row))) if row[place] != self.pad_id), 0)
        return row[: last + 1]

    def _padded(self, inputs: Sequence[Input]) -> dict[str, Any]:
        """Right-padded tensors [B, T] with their mask."""
        ids_BT, real_BT = self._filled([each.tokens["input_ids"] for each in inputs], self.pad_id)
        given = {"input_ids": ids_BT, "attention_mask": real_BT}
        if "token_type_ids" in inputs[0].tokens:
            given["token_type_ids"] = self._filled([each.tokens["token_type_ids"] for each in inputs], 0)[0]
        return given

    def _filled(self, rows: Sequence[list[int]], filler: int) -> tuple[Any, Any]:
        """Rows filled up on the right [B, T], and where they are real [B, T]."""
        import torch

        longest = max(map(len, rows))
        ids = [row + [filler] * (longest - len(row)) for row in rows]
        real = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        device = _device(self.model)
        return torch.tensor(ids, device=device), torch.tensor(real, device=device)


def _device(model: Any) -> Any:
    """Where inputs go: the first weight that is anywhere (accelerate leaves weights on disk as 'meta')."""
    devices = (weight.device for weight in model.parameters())
    return next((device for device in devices if device.type != "meta"), "cpu")


def _loaded(source: str, options: Any, device: str, where: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    common = {"revision": options.revision or "main", "trust_remote_code": options.trust_remote_code}
    placement = {"device_map": options.device_map} if options.device_map else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        model, told = AutoModelForSequenceClassification.from_pretrained(
            source, dtype=options.dtype, use_safetensors=True, output_loading_info=True, **common, **placement
        )
    except Exception as fault:  # a damaged file makes each library raise exceptions of its own
        reason = next((line for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
        raise ModelError(
            f"{where}: the model '{options.model}' cannot be loaded: {reason} Correct the name, or download it first."
        ) from fault
    if told["missing_keys"]:
        raise ModelError(
            f"{where}: '{options.model}' has no weights for {sorted(told['missing_keys'])[0]}, which would be random."
            " It is no trained classifier; name one that is."
        )
    return (model if placement else model.to(device)), tokenizer


def _head(config: Any, options: Any, where: str) -> int:
    """The number of the output that the recipe chose, or of the only one."""
    count, chosen = config.num_labels, options.head
    names = [str(config.id2label.get(number, number)) for number in range(count)]
    if chosen is None and count == 1:
        return 0
    if isinstance(chosen, int) and 0 <= chosen < count:
        return chosen
    if isinstance(chosen, str) and names.count(chosen) == 1:
        return names.index(chosen)
    fault = f"has {count} outputs" if chosen is None else f"has no output '{chosen}'"
    raise ModelError(
        f"{where}: '{options.model}' {fault}. Choose one with `head`, by name or number: {', '.join(names)}."
    )
