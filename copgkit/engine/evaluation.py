"""Evaluation by generation: what the policy writes for held-out prompts, scored beside what the reference writes.

The validation loss of an off-policy objective does not show a collapse of the policy (theory: too small a beta), so
every evaluation draws fresh completions. Policy and reference use the same prompts and the same random numbers, which
makes their difference less noisy than either.

More than one sample for each prompt serves evaluators that ask for them (pass@k). Every other figure is of the first
sample of each prompt, so that its samples are independent and its interval stays right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from copgkit.components import Evaluator
from copgkit.engine import ranks
from copgkit.engine.policy import FrozenPolicy, Policy
from copgkit.engine.scoring import Panel
from copgkit.progress import Progress
from copgkit.types import Estimate, Evaluation, GenerationSettings, Group, Prompt, Sample

_PROMPTS_PER_CALL = 256

T = TypeVar("T")


@dataclass
class Examination:
    """Held-out prompts, the panel that scores them and the evaluators that measure the samples.

    reference_by_prompt: the reference's samples, once they were drawn, or those of a run that goes on.
    """

    policy: Policy
    reference: FrozenPolicy
    prompts: Sequence[Prompt]
    panel: Panel
    evaluators: Sequence[Evaluator]
    settings: GenerationSettings
    samples_per_prompt: int = 1
    progress: Progress = field(default_factory=Progress)
    reference_by_prompt: list[list[Sample]] = field(default_factory=list)

    def hold(self, step: int) -> tuple[dict[str, float], list[Sample]]:
        """The figures of the policy as it is now (`eval/...` metric names) and the samples behind them.

        The first call also draws the reference's samples, which all later ones are compared with.
        """
        if not self.reference_by_prompt:
            self.reference_by_prompt = self._samples(self.reference)
        by_prompt = self.reference_by_prompt if step == 0 else self._samples(self.policy)
        samples = [row[0] for row in by_prompt]
        evaluation = Evaluation(step, samples, self.reference_samples, by_prompt)
        row: dict[str, float] = {}
        for evaluator in self.evaluators:
            row.update(as_metrics(evaluator.evaluate(evaluation)))
        return row, samples

    @property
    def reference_samples(self) -> list[Sample]:
        """The reference's first sample for each prompt; none before the first examination."""
        return [row[0] for row in self.reference_by_prompt]

    def _samples(self, model: FrozenPolicy) -> list[list[Sample]]:
        groups = self._generate(model)
        verdicts = self.panel.judge(groups)
        self._tell_failures([verdict.failure for row in verdicts for verdict in row])
        ratios = self._log_ratios(model, groups)
        return [
            [
                Sample(completion, verdict.scores, verdict.reward, ratio)
                for completion, verdict, ratio in zip(group.completions, *of_group, strict=True)
            ]
            for group, of_group in zip(groups, zip(verdicts, ratios, strict=True), strict=True)
        ]

    def _tell_failures(self, failures: Sequence[str | None]) -> None:
        failed = [failure for failure in failures if failure is not None]
        if failed:
            self.progress.warning(
                f"evaluation: {len(failed)} of {len(failures)} samples have no reward and are left out of its mean:"
                f" {failed[0]}"
            )

    def _generate(self, model: FrozenPolicy) -> list[Group]:
        groups: list[Group] = []
        with self.progress.phase("evaluate: generate", total=len(self.prompts), unit="prompts") as phase:
            for chunk in _chunks(self.prompts):
                rows = model.generate(chunk, self.samples_per_prompt, self.settings)
                groups += [Group(row[0].prompt, tuple(row)) for row in rows if row]
                phase.advance(len(chunk))
        if model is self.reference and len(groups) < len(self.prompts):
            left_out = len(self.prompts) - len(groups)
            self.progress.warning(f"evaluation: {left_out} prompts are longer than policy.max_prompt_tokens: left out.")
        return groups

    def _log_ratios(self, model: FrozenPolicy, groups: Sequence[Group]) -> list[list[float]]:
        if model is self.reference:
            return [[0.0] * len(group.completions) for group in groups]
        with self.policy.whole(), self.reference.whole():
            return ranks.share_out(groups, self._policy_to_reference)

    @torch.no_grad()
    def _policy_to_reference(self, groups: Sequence[Group]) -> list[list[float]]:
        ratios: list[list[float]] = []
        for chunk in _chunks(groups):
            pairs = zip(_as_written(self.policy, chunk), self.reference.log_probs(chunk).tolist(), strict=True)
            ratios += [[own - ref for own, ref in zip(*of_group, strict=True)] for of_group in pairs]
        return ratios


def _as_written(policy: Policy, groups: Sequence[Group]) -> list[list[float]]:
    """The log-probabilities of what the policy has just written: as it wrote it, if they are known, else from a
    pass."""
    logp_GK = [[one.log_prob for one in group.completions] for group in groups]
    known = [[logp for logp in logp_K if logp is not None] for logp_K in logp_GK]
    return known if known == logp_GK else policy.log_probs(groups).tolist()


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _PROMPTS_PER_CALL] for start in range(0, len(items), _PROMPTS_PER_CALL))


def as_metrics(figures: Mapping[str, Estimate]) -> dict[str, float]:
    """Estimates as flat metrics: the value under `eval/<name>`, its interval under `.../low` and `.../high`."""
    row: dict[str, float] = {}
    for name, estimate in figures.items():
        row |= {f"eval/{name}": estimate.value, f"eval/{name}/low": estimate.low, f"eval/{name}/high": estimate.high}
    return row
