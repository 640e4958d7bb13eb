"""Evaluation by generation: what the policy writes for held-out prompts, scored beside what the reference writes.

The validation loss of an off-policy objective does not show a collapse of the policy (theory: too small a beta), so
every evaluation draws fresh completions. Policy and reference use the same prompts and the same random numbers, which
makes their difference less noisy than either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from copgkit.components import Evaluator
from copgkit.engine.policy import Policy
from copgkit.engine.scoring import Panel
from copgkit.progress import Progress
from copgkit.types import Completion, Estimate, Evaluation, GenerationSettings, Group, Prompt, Sample

_PROMPTS_PER_CALL = 64


@dataclass
class Examination:
    """Held-out prompts, the panel that scores them and the evaluators that measure the samples."""

    policy: Policy
    reference: Policy
    prompts: Sequence[Prompt]
    panel: Panel
    evaluators: Sequence[Evaluator]
    settings: GenerationSettings
    progress: Progress = field(default_factory=Progress)
    reference_samples: list[Sample] = field(default_factory=list)

    def hold(self, step: int) -> tuple[dict[str, float], list[Sample]]:
        """The figures of the policy as it is now (`eval/...` metric names) and the samples behind them.

        The first call also draws the reference's samples, which all later ones are compared with.
        """
        if not self.reference_samples:
            self.reference_samples = self._samples(self.reference)
        samples = self.reference_samples if step == 0 else self._samples(self.policy)
        evaluation = Evaluation(step, samples, self.reference_samples)
        row: dict[str, float] = {}
        for evaluator in self.evaluators:
            row.update(as_metrics(evaluator.evaluate(evaluation)))
        return row, samples

    def _samples(self, model: Policy) -> list[Sample]:
        completions = self._generate(model)
        groups = [Group(completion.prompt, (completion,)) for completion in completions]
        verdicts = [row[0] for row in self.panel.judge(groups)]
        ratios = self._log_ratios(model, groups)
        failures = [verdict.failure for verdict in verdicts if verdict.failure is not None]
        if failures:
            self.progress.warning(
                f"evaluation: {len(failures)} of {len(verdicts)} samples have no reward and are left out of its mean:"
                f" {failures[0]}"
            )
        return [
            Sample(completion, verdict.scores, verdict.reward, ratio)
            for completion, verdict, ratio in zip(completions, verdicts, ratios, strict=True)
        ]

    def _generate(self, model: Policy) -> list[Completion]:
        completions: list[Completion] = []
        with self.progress.phase("evaluate: generate", total=len(self.prompts), unit="prompts") as phase:
            for start in range(0, len(self.prompts), _PROMPTS_PER_CALL):
                chunk = self.prompts[start : start + _PROMPTS_PER_CALL]
                completions += [row[0] for row in model.generate(chunk, 1, self.settings) if row]
                phase.advance(len(chunk))
        if model is self.reference and len(completions) < len(self.prompts):
            left_out = len(self.prompts) - len(completions)
            self.progress.warning(f"evaluation: {left_out} prompts are longer than policy.max_prompt_tokens: left out.")
        return completions

    @torch.no_grad()
    def _log_ratios(self, model: Policy, groups: Sequence[Group]) -> list[float]:
        if model is self.reference:
            return [0.0] * len(groups)
        ratios: list[float] = []
        for start in range(0, len(groups), _PROMPTS_PER_CALL):
            chunk = groups[start : start + _PROMPTS_PER_CALL]
            ratio_G1 = self.policy.log_probs(chunk).double() - self.reference.log_probs(chunk).double()
            ratios += ratio_G1[:, 0].tolist()
        return ratios


def as_metrics(figures: Mapping[str, Estimate]) -> dict[str, float]:
    """Estimates as flat metrics: the value under `eval/<name>`, its interval under `.../low` and `.../high`."""
    row: dict[str, float] = {}
    for name, estimate in figures.items():
        row |= {f"eval/{name}": estimate.value, f"eval/{name}/low": estimate.low, f"eval/{name}/high": estimate.high}
    return row
