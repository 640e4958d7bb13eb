"""The reward source `reward-model`.

    rewards:
      - {use: reward-model, options: {model: assets/tldr-reward, max_tokens: 256}}

The model is loaded at the first score, works without gradient and dropout, and is released when it will not be asked
for a while; the next score loads it again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from copgkit import Completion, ModelError, RewardSource, Score
from copgkit_reward_model.classifier import Classifier
from copgkit_reward_model.encoding import Encoder, Input

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


class RewardModel(RewardSource):
    """The output of a sequence classifier for prompt and completion."""

    class Options(RewardSource.Options):
        model: str = Field(description="A folder relative to the recipe, or a hub name.")
        revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
        head: str | int | None = Field(
            None, description="Which output of a model with several: its name in id2label, or its number from 0."
        )
        input: Literal["joined", "pair", "chat"] = Field(
            "joined",
            description="joined: prompt and completion as one text. pair: as the two texts of a classifier."
            " chat: the tokenizer's chat template with the completion as the assistant's turn.",
        )
        prompt_from: str | None = Field(
            None, description="Take another text than the prompt, for instance 'facts.post' or 'answer'."
        )
        append_eos: bool = Field(False, description="joined: put end-of-sequence behind the completion.")
        max_tokens: int = Field(
            512, ge=2, description="The longest input, where the model does not read less anyway; see truncate."
        )
        truncate: Literal["prompt-start", "prompt-end", "refuse"] = Field(
            "prompt-start",
            description="What an input that is too long loses: the start or the end of its prompt (chat: of the longest"
            " turn), counted and said; or it has failed. The completion is never cut.",
        )
        batch_size: int = Field(64, ge=1, description="Inputs in one forward pass, of similar length.")
        dtype: Literal["float32", "bfloat16", "float16"] = Field(
            "float32", description="The type the weights are loaded in."
        )
        device: str | None = Field(None, description="Where it runs; the run's device if not given.")
        device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = Field(
            None,
            description="Let accelerate spread the weights over all devices, and over main memory if they are too"
            " small, in one of its ways; for models larger than one device. Instead of device.",
        )
        trust_remote_code: bool = Field(
            False,
            description="Run code that comes with the checkpoint; of a hub model it needs the commit as revision.",
        )

        @model_validator(mode="after")
        def _one_placement(self) -> Any:
            if self.device is not None and self.device_map is not None:
                raise ValueError("device and device_map both say where the model runs. Give one of them.")
            return self

    def setup(self) -> None:
        """Looks for the model, so that a wrong name shows before any work; loading waits for the first score."""
        self._classifier: Classifier | None = None
        self._scored = self._truncated = 0
        source = Path(self.context.model(self.options.model))
        if not source.is_dir() and self.options.model.count("/") != 1:
            raise ModelError(
                f"{self._where}: there is no folder '{self.options.model}' beside the recipe, and hub names have the"
                " form owner/name. Correct the path."
            )
        if self.options.trust_remote_code and not source.is_dir() and not _COMMIT.match(self.options.revision or ""):
            raise ModelError(
                f"{self._where}: code of the hub runs with your rights. Read it, then name the commit that you read:"
                " revision, 40 digits from 0 to f."
            )

    @property
    def completions_per_call(self) -> int:  # type: ignore[override]
        """Eight batches, whatever the clock says: the last digits depend on which inputs are read together."""
        return 8 * int(self.options.batch_size)

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One score per completion, in order. An input that does not fit, and an output that is not finite, has
        failed."""
        classifier = self._load()
        inputs = self._encoded(completions)
        fitting = [each for each in inputs if isinstance(each, Input)]
        values = iter(classifier.values(fitting, self.options.batch_size))
        self._count(fitting, classifier.limit)
        return [
            _as_score(next(values), each.truncated) if isinstance(each, Input) else Score.failed(each)
            for each in inputs
        ]

    def fingerprint(self) -> str:
        """Changes with the options and with the checkpoint's content (a folder) or commit (a hub model)."""
        model, revision = self.options.model, self.options.revision
        content = self.context.digest(model) or self.context.commit(model, revision)
        if content is None:
            self._load()  # says why it cannot be had
        return f"{super().fingerprint()}:{content}"

    def release(self) -> None:
        """Lets go of the weights."""
        self._classifier = None

    def close(self) -> None:
        """Releases the model, and says how many inputs were shortened in all."""
        if self._truncated:
            self.context.progress.message(
                f"{self._where}: {self._truncated} of {self._scored} inputs were too long and lost a part of their"
                " prompt."
            )
        self.release()
        self._scored = self._truncated = 0

    @property
    def _where(self) -> str:
        return f"reward source '{self.context.name}'"

    def _load(self) -> Classifier:
        if self._classifier is None:
            source, device = self.context.model(self.options.model), self.options.device or self.context.device
            self._classifier = Classifier.load(source, self.options, device, self._where)
            self._encoder = Encoder(
                self._classifier.tokenizer,
                form=self.options.input,
                limit=self._classifier.limit,
                truncate=self.options.truncate,
                append_eos=self.options.append_eos,
                where=self._where,
            )
        return self._classifier

    def _encoded(self, completions: Sequence[Completion]) -> list[Input | str]:
        """The inputs for the model, or why there is none."""
        wanted = self.options.prompt_from
        contents = [one.prompt.content if wanted is None else self.text_of(one.prompt, wanted) for one in completions]
        return self._encoder.encode(contents, completions)

    def _count(self, inputs: Sequence[Input], limit: int) -> None:
        cut = sum(each.truncated for each in inputs)
        if cut and not self._truncated:
            part = "start" if self.options.truncate == "prompt-start" else "end"
            self.context.progress.warning(
                f"{self._where}: {cut} of the first {len(inputs)} inputs are longer than {limit} tokens and lose the"
                f" {part} of their prompt; each is noted as truncated. Raise max_tokens if the model can read more."
            )
        self._scored += len(inputs)
        self._truncated += cut


def _as_score(value: float, truncated: bool) -> Score:
    if not math.isfinite(value):
        return Score.failed(f"the model gave {value}; a wider dtype may help")
    return Score(value, {"truncated": 1.0} if truncated else {})
