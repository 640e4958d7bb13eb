"""The evaluators that come with copgkit. Figures are logged as `eval/<name>`, each with a 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from copgkit import DataError, Estimate, Evaluation, Evaluator, Sample
from copgkit_metrics.intervals import mean, share
from copgkit_metrics.loading import MetricChoice, MetricLoader, numbers_in


class RewardSummary(Evaluator):
    """Mean reward, each source's raw mean, length in words, and the share of completions that ended by themselves."""

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """Samples without a reward (a source failed) are left out of its mean, and their share is given."""
        samples = evaluation.samples
        if not samples:
            return {}
        rewards = [sample.reward for sample in samples if sample.reward is not None]
        figures = {} if not rewards else {"reward/mean": mean(rewards)}
        if len(rewards) < len(samples):
            figures["reward/failed"] = share(len(samples) - len(rewards), len(samples))
        for label in samples[0].scores:
            values = [value for sample in samples if (value := sample.scores[label].value) is not None]
            if values:
                figures[f"{label}/raw-mean"] = mean(values)
        figures["length/mean"] = mean([float(len(sample.completion.text.split())) for sample in samples])
        figures["finished/share"] = share(sum(sample.completion.finished for sample in samples), len(samples))
        return figures


class KL(Evaluator):
    """KL(policy || reference) in nats per completion: the mean of ln pi - ln pi_ref over samples of the policy.

    Unbiased for samples at temperature 1; at another temperature it is the mean log-ratio and nothing more.
    """

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """One figure, `kl/mean`."""
        ratios = [sample.log_ratio for sample in evaluation.samples]
        return {"kl/mean": mean(ratios)} if ratios else {}


class WinRate(Evaluator):
    """How often the policy's completion has a higher reward than the reference's for the same prompt.

    A tie is half a win. Pairs in which either has no reward are left out.
    """

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """One figure, `win-rate/share`, with Wilson's interval."""
        pairs = [
            (ours.reward, theirs.reward)
            for ours, theirs in zip(evaluation.samples, evaluation.reference_samples, strict=True)
            if ours.reward is not None and theirs.reward is not None
        ]
        if not pairs:
            return {}
        wins = sum((ours > theirs) + 0.5 * (ours == theirs) for ours, theirs in pairs)
        return {"win-rate/share": share(wins, len(pairs))}


class Rouge(Evaluator):
    """ROUGE-1, -2 and -L (F1) against the prompts' known good answers, through `evaluate`, without any network."""

    class Options(Evaluator.Options):
        types: list[str] = Field(
            ["rouge1", "rouge2", "rougeL"], description="Which of rouge1, rouge2, rougeL, rougeLsum."
        )
        use_stemmer: bool = Field(True, description="Compare word stems (English).")

    def setup(self) -> None:
        """The metric is made at the first use: it imports `evaluate`."""
        self._metric: Any = None

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """`rouge/<type>` for each type. Raises DataError if no prompt has an answer."""
        if self._metric is None:
            from copgkit_metrics.rouge import LocalRouge

            self._metric = LocalRouge()
        predictions, answers = answered(evaluation.samples, self.context.name)
        scores = self._metric.compute(
            predictions=predictions,
            references=answers,
            rouge_types=self.options.types,
            use_stemmer=self.options.use_stemmer,
        )
        return {f"rouge/{name}": mean(values) for name, values in scores.items()}


class MetricFigures(Evaluator):
    """Any metric of the `evaluate` library over all completions: ROUGE, BLEU, exact match, a script, or a hub name.

    A metric is code that runs with your rights: use those you trust. Hub names need a network the first time.
    """

    class Options(MetricChoice):
        pass

    def setup(self) -> None:
        """Looks at the name; the metric itself is loaded at the first use."""
        self._loader = MetricLoader(self.options, self.context, f"evaluator '{self.context.name}'")

    def release(self) -> None:
        """Lets go of a metric that may hold a model."""
        self._loader.release()

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """Its numbers. A list of one value for each completion gives a mean with its interval; a number over the whole
        set stands without one, because the metric gives none."""
        predictions, answers = answered(evaluation.samples, self.context.name)
        result = self._loader.compute(predictions, answers)
        figures: dict[str, Estimate] = {}
        for key, value in result.items():
            numbers = numbers_in(value)
            if numbers is not None and len(numbers) == len(answers):
                figures[f"{self.context.name}/{key}"] = mean(numbers)
            elif numbers is not None and len(numbers) == 1:
                figures[f"{self.context.name}/{key}"] = Estimate(numbers[0], numbers[0], numbers[0], len(answers))
        return figures


def answered(samples: Sequence[Sample], name: str) -> tuple[list[str], list[str]]:
    """The completions of the prompts that have an answer, and the answers."""
    pairs = [(one.completion.text, one.completion.prompt.answer) for one in samples]
    known = [(text, answer) for text, answer in pairs if answer is not None]
    if not known:
        raise DataError(
            f"evaluator '{name}': none of the {len(pairs)} evaluation prompts has an answer to compare with."
            " Set answer_field in evaluate.prompts.options."
        )
    return [text for text, _ in known], [answer for _, answer in known]
