"""A learned reward: any Hugging Face sequence classifier with one output.

The model is loaded at the first score, works without gradient and dropout, and is released by `close`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from copgkit import Completion, ModelError, RewardSource, Score, hookimpl


class RewardModel(RewardSource):
    """The output of a sequence classifier for prompt and completion."""

    class Options(RewardSource.Options):
        model: str = Field(description="A folder relative to the recipe, or a hub name.")
        revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
        input: Literal["joined", "pair", "chat"] = Field(
            "joined",
            description="joined: prompt and completion as one text. pair: as the two texts of a classifier."
            " chat: the tokenizer's chat template with the completion as the assistant's turn.",
        )
        prompt_from: str | None = Field(
            None, description="Take another text than the prompt, for instance 'facts.post' or 'answer'."
        )
        append_eos: bool = Field(False, description="joined: put end-of-sequence behind the completion.")
        max_tokens: int = Field(512, ge=2, description="Longer inputs lose the start of the prompt; counted and said.")
        batch_size: int = Field(64, ge=1, description="Inputs in one forward pass, of similar length.")
        dtype: Literal["float32", "bfloat16"] = Field("float32", description="The type the weights are loaded in.")
        device: str | None = Field(None, description="Where it runs; the run's device if not given.")
        trust_remote_code: bool = Field(False, description="Run code that comes with the checkpoint.")

    def setup(self) -> None:
        """Looks for the model, so that a wrong name shows before any work; loading waits for the first score."""
        self._model: Any = None
        self._tokenizer: Any = None
        source = Path(self.context.model(self.options.model))
        if not source.is_dir() and self.options.model.count("/") != 1:
            raise ModelError(
                f"reward source '{self.context.name}': there is no folder '{self.options.model}' beside the recipe, and"
                " hub names have the form owner/name. Correct the path."
            )

    @property
    def completions_per_call(self) -> int:  # type: ignore[override]
        """Eight batches, whatever the clock says: the last digits depend on which inputs are padded together."""
        return 8 * int(self.options.batch_size)

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One score per completion, in order; batches hold inputs of similar length."""
        self._load()
        inputs = [self._encode(completion) for completion in completions]
        values = self._values([ids for ids, _ in inputs])
        cut = sum(truncated for _, truncated in inputs)
        if cut:
            self.context.progress.warning(
                f"reward source '{self.context.name}': {cut} of {len(inputs)} inputs are longer than"
                f" {self.options.max_tokens} tokens and lost the start of their prompt. Raise max_tokens if the model"
                " can read more."
            )
        return [
            Score(value, {"truncated": 1.0} if truncated else {})
            for value, (_, truncated) in zip(values, inputs, strict=True)
        ]

    def fingerprint(self) -> str:
        """Changes with the options and with the checkpoint's content (a folder) or commit (a hub model)."""
        content = self.context.digest(self.options.model)
        if content is None:
            self._load()
            content = self._model.config._commit_hash
        return f"{super().fingerprint()}:{content}"

    def close(self) -> None:
        """Releases the model."""
        self._model = self._tokenizer = None

    def _load(self) -> None:
        if self._model is not None:
            return
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        source, options = self.context.model(self.options.model), self.options
        common = {"revision": options.revision or "main", "trust_remote_code": options.trust_remote_code}
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **common)
            model = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=options.dtype, use_safetensors=True, **common
            )
        except (OSError, ValueError, KeyError, ImportError, TypeError) as fault:
            reason = next((line for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
            raise ModelError(
                f"reward source '{self.context.name}': the model '{options.model}' cannot be loaded: {reason}"
                " Correct the name, or download it first."
            ) from fault
        if model.config.num_labels != 1:
            raise ModelError(
                f"reward source '{self.context.name}': '{options.model}' has {model.config.num_labels} outputs; a"
                " reward model has one. Is it a classifier of another kind?"
            )
        self._tokenizer, self._model = tokenizer, model.eval().to(options.device or self.context.device)
        if model.config.pad_token_id is None:
            model.config.pad_token_id = self._pad_id  # decoder models look for the last token that is not padding

    @property
    def _pad_id(self) -> int:
        for name in ("pad_token_id", "eos_token_id"):
            found = getattr(self._tokenizer, name)
            if found is not None:
                return int(found)
        raise ModelError(f"reward source '{self.context.name}': the tokenizer has neither pad nor eos token.")

    def _encode(self, completion: Completion) -> tuple[dict[str, list[int]], bool]:
        """Token ids (and types, for a pair) and whether the prompt had to be shortened; the completion never is."""
        context = self.text_of(completion.prompt, self.options.prompt_from)
        limit = self.options.max_tokens
        if self.options.input == "pair":
            full = self._tokenizer(context, completion.text)
            if len(full["input_ids"]) <= limit:
                return dict(full), False
            return dict(self._tokenizer(context, completion.text, truncation="only_first", max_length=limit)), True
        ids = self._one_text(context, completion)
        if len(ids) <= limit:
            return {"input_ids": ids}, False
        opening = ids[:1] if ids[0] == self._tokenizer.bos_token_id else []
        return {"input_ids": opening + ids[len(ids) - limit + len(opening) :]}, True

    def _one_text(self, context: str, completion: Completion) -> list[int]:
        if self.options.input == "chat":
            return self._chat(completion)
        ids = list(self._tokenizer(context)["input_ids"])
        closing = {self._tokenizer.eos_token_id, self._tokenizer.sep_token_id} - {None}
        if ids and ids[-1] in closing and len(ids) > 1:
            ids.pop()  # the text goes on with the completion
        ids += self._tokenizer(completion.text, add_special_tokens=False)["input_ids"]
        if self.options.append_eos and completion.finished and self._tokenizer.eos_token_id is not None:
            ids.append(self._tokenizer.eos_token_id)
        return ids

    def _chat(self, completion: Completion) -> list[int]:
        if not self._tokenizer.chat_template:
            raise ModelError(
                f"reward source '{self.context.name}': its tokenizer has no chat template; use `input: joined`."
            )
        content = completion.prompt.content
        turns = [{"role": "user", "content": content}] if isinstance(content, str) else list(content)
        turns.append({"role": "assistant", "content": completion.text})
        text = self._tokenizer.apply_chat_template(turns, tokenize=False)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])  # the template wrote its own

    def _values(self, inputs: Sequence[dict[str, list[int]]]) -> list[float]:
        import torch

        order = sorted(range(len(inputs)), key=lambda index: len(inputs[index]["input_ids"]))
        values = [0.0] * len(inputs)
        for start in range(0, len(order), self.options.batch_size):
            batch = order[start : start + self.options.batch_size]
            with torch.inference_mode():
                logits_B1 = self._model(**self._padded([inputs[index] for index in batch])).logits
            for index, value in zip(batch, logits_B1.float()[:, 0].tolist(), strict=True):
                values[index] = value
        return values

    def _padded(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        """Right-padded tensors [B, T] with their mask."""
        import torch

        longest = max(len(row["input_ids"]) for row in rows)
        mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
        padded = {"attention_mask": mask}
        for name, filler in (("input_ids", self._pad_id), ("token_type_ids", 0)):
            if name in rows[0]:
                padded[name] = [row[name] + [filler] * (longest - len(row[name])) for row in rows]
        return {name: torch.tensor(values, device=self._model.device) for name, values in padded.items()}


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `reward-model`."""
    register("reward-model", RewardModel)
