"""The order of a run: evaluation of the untrained policy -> groups -> scores -> reference -> training -> evaluation ->
report.

The untrained policy is evaluated first, so that a broken model, data file or reward source shows before any long work.
Offline, reward models and the reference leave the memory before the policy's optimiser is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copgkit.progress import Phase, Progress
from copgkit.recipe import ResolvedRecipe, to_yaml
from copgkit.report import cautions, diagnose, inspect_groups, summarise
from copgkit.runner.log import Log
from copgkit.runner.parts import Parts
from copgkit.runner.record import RunResult, record_of, write_outcome
from copgkit.runner.reward_check import check_rewards, disagreement
from copgkit.store import RunFolder, write_groups, write_samples
from copgkit.types import Sample, ScoredGroup

if TYPE_CHECKING:
    from copgkit.engine.reference import Example

_SHOWN = {"reward": "eval/reward/mean", "kl": "eval/kl/mean", "residual": "train/residual/rms"}
"""Figures beside the bar of training, by the short names that they have there."""


class Run:
    """One run at work. main: this process writes the folder. parts: what it works with, where that is made already."""

    def __init__(
        self,
        resolved: ResolvedRecipe,
        folder: RunFolder,
        progress: Progress,
        main: bool = True,
        parts: Parts | None = None,
    ) -> None:
        from copgkit.engine.tracking import Trackers

        self.recipe, self.folder, self.progress, self.main = resolved.recipe, folder, progress, main
        self.started = datetime.now(UTC)
        self.samples: list[Sample] = []
        self._told: list[str] = []  # the kinds of diagnosis that were warned of
        if main:
            folder.write_recipe(resolved.text)
            folder.write_resolved(to_yaml(resolved))
        self.parts = parts or Parts.of(resolved, folder, progress)
        self.log = Log(folder, Trackers(self.parts.accelerator, resolved.path.stem, progress.warning), main)

    def from_prompts_to_report(self) -> RunResult:
        """The whole run, in order."""
        self._evaluate()
        self._train()
        self.parts.policy.save(self.folder.model)
        if self.log.step != self._last_evaluated:
            self._evaluate()
        return self._report()

    def close(self) -> None:
        """Releases what the parts hold."""
        self.log.close()
        self.parts.close()

    def _train(self) -> None:
        from accelerate import DistributedType

        from copgkit.engine.training import align

        parts, rounds = self.parts, self._rounds()
        first = next(rounds)
        total = self.recipe.train.steps or parts.settings.steps_for(len(first))
        self._make_room()
        with self.progress.phase("train", total=total, unit="steps") as phase:
            align(
                parts.policy,
                itertools.chain([first], rounds),
                parts.objective,
                parts.settings,
                total,
                on_step=lambda step, row: self._after_step(step, row, phase, total),
                accelerator=parts.accelerator,
                reference=parts.moving_reference,
                tell=self.progress.warning,
                keep_bad=self._keep_bad,
            )
        if parts.accelerator.distributed_type == DistributedType.NO:
            parts.accelerator.free_memory()  # it keeps the optimiser, which the last evaluation has no use for

    def _make_room(self) -> None:
        released = self.parts.make_room()
        if released and self.log.step == 0:
            self.progress.message(
                f"train: the policy and its optimiser have the memory; released until an evaluation asks:"
                f" {', '.join(released)}"
            )

    def _rounds(self) -> Iterator[list[Example]]:
        """Draws, scores and gives rounds of examples; offline there is one."""
        from copgkit.engine.rounds import Rounds

        parts = self.parts
        return iter(
            Rounds(
                sampler=parts.sampler,
                policy=parts.policy,
                reference=parts.moving_reference,
                panel=parts.panel,
                groups_per_step=self.recipe.train.groups_per_step,
                keep=self._keep,
                log=self.log.add,
                progress=self.progress,
            )
        )

    def _keep(self, number: int, groups: Sequence[ScoredGroup]) -> None:
        if self.main:
            write_groups(self.folder.groups / f"round-{number:04d}.jsonl", groups)
        if number == 0 and groups[0].rewards:
            for warning in cautions(inspect_groups(groups, self.recipe.objective.beta)):
                self.progress.warning(warning)

    def _keep_bad(self, count: int, step: int, examples: Sequence[Example]) -> None:
        """The groups of a step that was not taken, to be looked at and trained on by themselves."""
        if self.main:
            file = self.folder.bad_steps / f"{count:04d}-at-step-{step:06d}.jsonl"
            write_groups(file, [example.scored for example in examples])

    def _after_step(self, step: int, row: dict[str, float], phase: Phase, total: int) -> None:
        self.log.step = step
        if row:
            refreshes = self.parts.moving_reference.refreshes
            self.log.add(row | ({"reference/refreshes/count": refreshes} if refreshes else {}))
        latest = {short: self.log.latest(name) for short, name in _SHOWN.items()}
        phase.advance(1, **{short: value for short, value in latest.items() if value is not None})
        every = self.recipe.evaluate.every
        if every and step % every == 0 and step < total:
            self._evaluate()
            self._make_room()

    def _evaluate(self) -> None:
        step, examination = self.log.step, self.parts.examination
        self._last_evaluated = step
        if not examination.prompts:
            return
        with self.parts.accelerator.autocast():  # the same precision for policy and reference
            row, self.samples = examination.hold(step)
        self.log.add({**row, **self.parts.panel.take_store_figures()})
        if self.main:
            write_samples(self.folder.samples, step, self.samples, examination.reference_samples)
        for warning in diagnose(self.log.rows, self.samples, examination.reference_samples):
            kind = warning.partition(":")[0]
            if kind not in self._told:  # the figures in it change from one evaluation to the next
                self._told.append(kind)
                self.progress.warning(warning)

    def _report(self) -> RunResult:
        from copgkit.engine import ranks

        rewards = check_rewards(self.folder, self.recipe, self.log.rows) if self.main else None
        if rewards and (fault := disagreement(rewards)):
            self.progress.warning(fault)
        for warning in itertools.chain.from_iterable(ranks.gathered(self.progress.warnings)):
            self.progress.warning(warning)
        before = [one.reward for one in self.parts.examination.reference_samples if one.reward is not None]
        summary = summarise(self.log.rows, before)
        warnings = tuple(self.progress.warnings)
        record = record_of(self.parts, self.log, summary, self.started, warnings)
        if self.main:
            write_outcome(self.folder, self.parts, self.log, self.samples, summary, record | {"rewards": rewards})
        rows, timings = tuple(self.log.rows), tuple(self.log.timings)
        return RunResult(self.folder.path, self.log.step, summary, warnings, rows, timings)
