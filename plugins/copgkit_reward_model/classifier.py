"""A sequence classifier: loading it, choosing its output, and running it on batches of similar length.

Tensors: B inputs of a batch, T tokens, H outputs of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from copgkit import ModelError
from copgkit_reward_model.encoding import Input


@dataclass(frozen=True)
class Classifier:
    """A model in evaluation mode with its tokenizer. head: the output that is the score. limit: the longest input."""

    model: Any
    tokenizer: Any
    head: int
    limit: int
    pad_id: int

    @classmethod
    def load(cls, source: str, options: Any, device: str, where: str) -> Classifier:
        """The classifier of a folder or hub name. Raises ModelError with the remedy if it cannot be the reward."""
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
        return cls(model.eval(), tokenizer, head, min(length for length in longest if length), pad_id)

    @property
    def commit(self) -> str | None:
        """The commit of a hub model."""
        found: str | None = self.model.config._commit_hash
        return found

    def values(self, inputs: Sequence[Input], batch_size: int) -> list[float]:
        """The chosen output for each input, in order."""
        import torch

        order = sorted(range(len(inputs)), key=lambda index: len(inputs[index].tokens["input_ids"]))
        values = [0.0] * len(inputs)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            with torch.inference_mode():
                logits_BH = self.model(**self._padded([inputs[index] for index in batch])).logits
            for index, value in zip(batch, logits_BH.float()[:, self.head].tolist(), strict=True):
                values[index] = value
        return values

    def _padded(self, inputs: Sequence[Input]) -> dict[str, Any]:
        """Right-padded tensors [B, T] with their mask."""
        import torch

        rows = [each.tokens for each in inputs]
        longest = max(len(row["input_ids"]) for row in rows)
        mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
        padded = {"attention_mask": mask}
        for name, filler in (("input_ids", self.pad_id), ("token_type_ids", 0)):
            if name in rows[0]:
                padded[name] = [row[name] + [filler] * (longest - len(row[name])) for row in rows]
        return {name: torch.tensor(values, device=self._device) for name, values in padded.items()}

    @property
    def _device(self) -> Any:
        """Where inputs go: the first weight that is anywhere (accelerate leaves weights on disk as 'meta')."""
        devices = (weight.device for weight in self.model.parameters())
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
    except (OSError, ValueError, KeyError, ImportError, TypeError) as fault:
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
