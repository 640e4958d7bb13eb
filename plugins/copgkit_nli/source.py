"""The reward source `nli`: sentences of the completion as hypotheses, the source text as premise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Literal, Self

from pydantic import Field, model_validator

from copgkit import Completion, ModelError, RewardSource, Score
from copgkit_nli.aggregation import Over, Support, best_window, log_odds, over_sentences
from copgkit_nli.classifier import Classifier, Reading
from copgkit_nli.sentences import sentences

Label = Literal["entailment", "neutral", "contradiction", "not_entailment"]


class Entailment(RewardSource):
    """How well the source text entails the completion, sentence by sentence, by a two- or three-way NLI classifier.

    A completion without words counts as entailed with probability 0. A prompt whose source text is blank gives a
    failure, since nothing can be said.
    """

    class Options(RewardSource.Options):
        model: str = Field(description="A folder relative to the recipe, or a hub name. Safetensors only.")
        revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
        labels: dict[Label, int] | None = Field(
            None, description="Index of each output, for a checkpoint that does not name them: {entailment: 0, ...}."
        )
        prompt_from: str | None = Field(
            None, description="The source text, where it is not the prompt: for instance 'facts.post' or 'answer'."
        )
        over_sentences: Over = Field(
            "mean", description="How sentences count together: mean, min, or product. Over windows it is the max."
        )
        value: Literal["probability", "log-odds"] = Field(
            "probability", description="probability: in [0, 1]. log-odds: ln p/(1-p), bounded by epsilon."
        )
        epsilon: float = Field(
            0.001, gt=0, lt=0.5, description="log-odds: p is kept in [epsilon, 1 - epsilon]; .001 bounds them by 6.9."
        )
        contradiction_penalty: float = Field(
            0.0, ge=0, description="Times the sentences' mean probability of contradiction, taken from the value."
        )
        window_tokens: int = Field(64, ge=8, description="The source is read in windows of so many tokens.")
        overlap_tokens: int = Field(16, ge=0, description="What two windows in succession share.")
        sentence_tokens: int = Field(128, ge=8, description="Longer sentences are judged in parts; counted.")
        batch_size: int = Field(64, ge=1, description="Windows in one forward pass, of similar length.")
        dtype: Literal["float32", "bfloat16", "float16"] = Field(
            "float32", description="The type the weights are loaded in."
        )
        device: str | None = Field(None, description="Where it runs; the run's device if not given.")

        @model_validator(mode="after")
        def _is_possible(self) -> Self:
            if self.overlap_tokens >= self.window_tokens:
                raise ValueError("overlap_tokens must be smaller than window_tokens, or the windows never get on")
            if self.labels is not None and "entailment" not in self.labels:
                raise ValueError("labels must say which output is `entailment`")
            return self

    def setup(self) -> None:
        """Looks for the model, so that a wrong name shows before any work; loading waits for the first score."""
        self._loaded: Classifier | None = None
        source = Path(self.context.model(self.options.model))
        if not source.is_dir() and self.options.model.count("/") != 1:
            raise ModelError(
                f"{self._where}: there is no such folder beside the recipe, and hub names have the form owner/name."
                " Correct the path."
            )

    @property
    def completions_per_call(self) -> int:  # type: ignore[override]
        """As many as a batch has windows, whatever the clock says: last digits depend on what is padded together."""
        return int(self.options.batch_size)

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One score per completion, in order. Notes: sentences, windows, and the worst sentence's probability."""
        if not completions:
            return []
        inputs = [self._inputs(completion) for completion in completions]
        flat = [window for parts in inputs for windows in parts or () for window in windows]
        supports = iter(self._classifier().supports(flat, self.options.batch_size))
        return [
            Score.failed("its source text is blank")
            if parts is None
            else self._score_of([list(islice(supports, len(windows))) for windows in parts])
            for parts in inputs
        ]

    def fingerprint(self) -> str:
        """Changes with the checkpoint's content (a folder) or commit (a hub model), and with every option but those
        that change the speed alone."""
        model, revision = self.options.model, self.options.revision
        content = self.context.digest(model) or self.context.commit(model, revision)
        if content is None:
            self._classifier()  # says why it cannot be had
        return f"{type(self).__qualname__}:{self.options.model_dump_json(exclude={'batch_size', 'device'})}:{content}"

    def release(self) -> None:
        """Lets go of the weights."""
        self._loaded = None

    def close(self) -> None:
        """Releases the model."""
        self.release()

    @property
    def _where(self) -> str:
        return f"reward source '{self.context.name}', model '{self.options.model}'"

    def _classifier(self) -> Classifier:
        if self._loaded is None:
            options = self.options
            reading = Reading(options.window_tokens, options.overlap_tokens, options.sentence_tokens)
            source = self.context.model(options.model)
            loaded = Classifier.load(source, options.revision, options.labels, reading, options.dtype, self._where)
            if options.contradiction_penalty and loaded.labels.contradiction is None:
                raise ModelError(
                    f"{self._where}: contradiction_penalty needs an output that means contradiction, and this one has"
                    " none. Leave the penalty out, or name a three-way classifier."
                )
            self._loaded = loaded.to(options.device or self.context.device)
        return self._loaded

    def _inputs(self, completion: Completion) -> list[list[dict[str, list[int]]]] | None:
        """What the classifier reads: for each sentence, its windows of the source. None if the source is blank."""
        source = self.text_of(completion.prompt, self.options.prompt_from)
        if not source.strip():
            return None
        classifier = self._classifier()
        parts = [part for sentence in sentences(completion.text) for part in classifier.parts(sentence)]
        return [classifier.windows(source, part) for part in parts]

    def _score_of(self, windows: Sequence[Sequence[Support]]) -> Score:
        """The score of one completion from what each window (inner) says of each sentence (outer)."""
        if not windows:
            return Score(self._valued(0.0), {"sentences": 0.0, "windows": 0.0, "empty": 1.0})
        best = [best_window(row) for row in windows]
        probabilities = [one.entailment for one in best]
        value = self._valued(over_sentences(probabilities, self.options.over_sentences))
        value -= self.options.contradiction_penalty * fmean(one.contradiction for one in best)
        notes = {
            "sentences": float(len(windows)),
            "windows": float(max(len(row) for row in windows)),
            "worst-sentence": min(probabilities),
        }
        return Score(value, notes)

    def _valued(self, probability: float) -> float:
        if self.options.value == "probability":
            return probability
        return log_odds(probability, self.options.epsilon)
