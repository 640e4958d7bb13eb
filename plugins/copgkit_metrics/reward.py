"""The reward source `metric`: how near a completion is to the known good answer of its prompt.

rewards:
  - {use: metric, options: {metric: rouge, field: rougeL}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from copgkit import Completion, DataError, PluginError, Prompt, RewardError, RewardSource, Score
from copgkit_metrics.loading import MetricChoice, MetricLoader, numbers_in


class MetricReward(RewardSource):
    """A metric of the `evaluate` library between each completion and the answer of its prompt.

    ROUGE, BLEU and exact match need no network; any other metric by hub name or by the path of its script. A metric
    that raises or gives no number has failed; that is never a zero.
    """

    class Options(MetricChoice):
        field: str | None = Field(
            None, description="Which value of the metric's result, such as rougeL; needed where it has several."
        )
        against: str = Field("answer", description="What completions are compared with: answer, or facts.NAME.")
        without_answer: Literal["stop", "abstain"] = Field(
            "stop", description="What a prompt without that text means: an error, or no score from this source."
        )
        batch: bool = Field(
            False,
            description="Call the metric once for all completions instead of once for each; it must then give a list"
            " with a value for each, as bertscore does.",
        )

    def setup(self) -> None:
        """Looks at the name, and tries a metric of ours, so that a wrong field or argument shows before any work; any
        other is loaded at the first score."""
        self._loader = MetricLoader(self.options, self.context, self._where)
        if self._loader.is_ours:
            self._chosen(self._loader.compute(["a"], ["a"]))

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One score per completion, in order; an abstention where there is no answer, if the recipe allows that."""
        answers = [self._answer(completion.prompt) for completion in completions]
        pairs = [
            (completion.text, answer)
            for completion, answer in zip(completions, answers, strict=True)
            if answer is not None
        ]
        scored = iter(self._all(pairs) if self._loader.is_ours or self.options.batch else map(self._one, pairs))
        return [Score.abstain("no answer") if answer is None else next(scored) for answer in answers]

    def release(self) -> None:
        """Lets go of a metric that may hold a model."""
        self._loader.release()

    def fingerprint(self) -> str:
        """Changes with the options and with the metric's code."""
        return f"{super().fingerprint()}:{self._loader.version()}"

    @property
    def _where(self) -> str:
        return f"reward source '{self.context.name}'"

    def _answer(self, prompt: Prompt) -> str | None:
        try:
            return self.text_of(prompt, self.options.against)
        except DataError as fault:
            if self.options.without_answer == "abstain":
                return None
            raise DataError(
                f"{fault} Give it one (`answer_field` of the prompts), or say `without_answer: abstain`."
            ) from None

    def _all(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        if not pairs:
            return []
        texts, answers = zip(*pairs, strict=True)
        values = self._chosen(self._loader.compute(texts, answers))
        if len(values) != len(pairs):
            raise RewardError(
                f"{self._where}: the metric '{self.options.metric}' gave {len(values)} values for {len(pairs)}"
                " completions at once. Say `batch: false`."
            )
        return [_as_score(value) for value in values]

    def _one(self, pair: tuple[str, str]) -> Score:
        try:
            result = self._loader.compute([pair[0]], [pair[1]])
        except PluginError as fault:
            if self._loader.is_loaded:
                return Score.failed(str(fault).removeprefix(f"{self._where}: "))
            raise
        values = self._chosen(result)
        return _as_score(values[0]) if len(values) == 1 else Score.failed(f"{len(values)} values for one completion")

    def _chosen(self, result: Mapping[str, Any]) -> Sequence[float]:
        """The values of the field, or of the only field that holds numbers."""
        numbers = {key: found for key, value in result.items() if (found := numbers_in(value)) is not None}
        field = self.options.field
        if field is None and len(numbers) == 1:
            return next(iter(numbers.values()))
        if field is None or field not in numbers:
            fault = f"has no numbers under '{field}'" if field else "has several values"
            raise RewardError(
                f"{self._where}: the result of '{self.options.metric}' {fault}. Choose one with `field`:"
                f" {', '.join(numbers) or 'it gives no numbers at all'}."
            )
        return numbers[field]


def _as_score(value: float) -> Score:
    return Score(value) if value - value == 0 else Score.failed(f"the metric gave {value}")
