"""pass@k: how likely it is that at least one of k samples of a prompt passes its tests.

Estimated without bias from n >= k samples of each prompt, c of which pass: 1 - C(n-c, k) / C(n, k) (Chen et al.,
arXiv:2107.03374, equation 1), averaged over prompts. k = 1 is the share of samples that pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, PositiveInt

from copgkit import DataError, Estimate, Evaluation, Evaluator, Sample

_Z = 1.959964  # of a 95 % interval


class PassAtK(Evaluator):
    """Share of prompts that a sample, or one of k samples, solves: pass@1 always, and pass@k for the k asked for.

    It reads the scores of a reward source of the run, by default `unit-tests`. k > 1 needs
    `evaluate.samples_per_prompt` >= k. Samples whose score failed are left out, and their share is given.
    """

    class Options(Evaluator.Options):
        k: list[PositiveInt] = Field([1], description="Which k; more than 1 needs as many samples of each prompt.")
        source: str = Field("unit-tests", description="The reward source that says what passed, as metrics call it.")
        passed_from: Annotated[float, Field(allow_inf_nan=False)] = Field(
            1.0, description="The score from which on a sample has passed."
        )

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """`pass@k/share` for each k, with Wilson's interval over prompts: samples of one prompt are not independent.

        Raises DataError if the source does not exist, or if no prompt has k samples with a score.
        """
        by_prompt = evaluation.by_prompt or [[sample] for sample in evaluation.samples]
        results = [self._passed(samples) for samples in by_prompt]
        figures = {f"pass@{k}/share": self._estimate(results, k) for k in sorted({1, *self.options.k})}
        lost = sum(map(len, by_prompt)) - sum(map(len, results))
        if lost:
            figures["pass@k/failed"] = interval(lost, sum(map(len, by_prompt)))
        return figures

    def _passed(self, samples: Sequence[Sample]) -> list[bool]:
        """Which samples passed, of those that have a score."""
        values = [value_by(self.options.source, sample, self.context.name) for sample in samples]
        return [value >= self.options.passed_from for value in values if value is not None]

    def _estimate(self, results: Sequence[Sequence[bool]], k: int) -> Estimate:
        chances = [pass_at_k(len(passed), sum(passed), k) for passed in results if len(passed) >= k]
        if not chances:
            raise DataError(
                f"evaluator '{self.context.name}': pass@{k} needs {k} scored samples of a prompt, and no prompt has"
                f" so many. Set evaluate.samples_per_prompt to {k} or more."
            )
        return interval(math.fsum(chances), len(chances))


def value_by(source: str, sample: Sample, evaluator: str) -> float | None:
    """What a reward source of the run said of a sample; None if it abstained or failed. Raises DataError if there is
    no such source."""
    if source not in sample.scores:
        known = ", ".join(f"'{name}'" for name in sample.scores)
        raise DataError(
            f"evaluator '{evaluator}': no reward source is called '{source}'; there are: {known}."
            " Say which in options.source."
        )
    return sample.scores[source].value


def pass_at_k(n: int, passed: int, k: int) -> float:
    """The chance that k of n samples, drawn without replacement, hold at least one of those that passed."""
    return 1.0 - math.comb(n - passed, k) / math.comb(n, k)


def interval(hits: float, n: int) -> Estimate:
    """hits / n with Wilson's score interval (Wilson 1927). For means of shares it is wider than need be."""
    centre = (hits + _Z * _Z / 2) / (n + _Z * _Z)
    half = _Z / (n + _Z * _Z) * math.sqrt(max(0.0, hits * (n - hits) / n) + _Z * _Z / 4)
    return Estimate(hits / n, max(0.0, centre - half), min(1.0, centre + half), n)
