"""The order of a run: evaluation of the untrained policy -> groups -> scores -> reference -> training -> evaluation ->
report.

The untrained policy is evaluated first, so that a broken model, data file or reward source shows before any long work.
Offline, reward models and the reference leave the memory before the policy's optimiser is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copgkit.engine.kept import KeptBatches
from copgkit.interrupts import AllInterrupted, Interrupted
from copgkit.progress import Phase, Progress
from copgkit.recipe import ResolvedRecipe, to_yaml
from copgkit.report import cautions, diagnose, inspect_groups, summarise
from copgkit.runner.log import Log
from copgkit.runner.opening import Opened
from copgkit.runner.parts import Parts
from copgkit.runner.record import RunResult, record_of, write_outcome
from copgkit.runner.reward_check import check_rewards, disagreement
from copgkit.runner.saving import Saved, Saver
from copgkit.store import Checkpoints, WrittenBatches, write_groups, write_samples
from copgkit.types import Sample, ScoredGroup

if TYPE_CHECKING:
    from copgkit.engine.reference import Example
    from copgkit.engine.rounds import Rounds
    from copgkit.engine.training import Training

_SHOWN = {"reward": "eval/reward/mean", "kl": "eval/kl/mean", "residual": "train/residual/rms"}
"""Figures beside the bar of training, by the short names that they have there."""


class Run:
    """One run at work, from its beginning or from its newest checkpoint. main: this process writes the folder. parts:
    what it works with, where that is made already."""

    def __init__(
        self,
        resolved: ResolvedRecipe,
        opened: Opened,
        progress: Progress,
        main: bool = True,
        parts: Parts | None = None,
    ) -> None:
        from copgkit.engine import ranks
        from copgkit.engine.tracking import Trackers

        self.recipe, self.folder, self.progress, self.main = resolved.recipe, opened.folder, progress, main
        self.opened, self.started = opened, datetime.now(UTC)
        self.samples: list[Sample] = []
        self._told: list[str] = []  # the kinds of diagnosis that were warned of
        self._last_evaluated = -1
        self._weights = "policy"  # a name for the policy's weights as they are
        if main:
            self.folder.write_recipe(resolved.text)
            self.folder.write_resolved(to_yaml(resolved))
        written = WrittenBatches(self.folder.written / f"rank-{ranks.rank()}.jsonl", progress.warning)
        kept = {"policy": KeptBatches(written, lambda: self._weights), "reference": KeptBatches(written)}
        self.parts = parts or Parts.of(resolved, self.folder, progress, kept)
        self.log = Log(self.folder, Trackers(self.parts.accelerator, resolved.path.stem, progress.warning), main)
        checkpoints = Checkpoints(self.folder.checkpoints, opened.run, progress.warning, any_run=bool(opened.changed))
        self._saver = Saver(checkpoints, self.parts, self.log, progress, written.forget, main)

    def from_prompts_to_report(self) -> RunResult:
        """The whole run, in order. A signal has it saved and raises Interrupted."""
        from copgkit.engine import ranks

        saved = self._saver.load()
        self._go_on(saved)
        if saved is None:
            self._evaluate()
        try:
            self._train(saved)
            self.parts.policy.save(self.folder.model)
            if self.log.step != self._last_evaluated:
                self._evaluate()
            return self._report()
        except Interrupted as signal:
            if ranks.count() == 1 or isinstance(signal, AllInterrupted):  # else each leaves where it is
                self._saver.save()
            raise

    def close(self) -> None:
        """Releases what the parts hold."""
        self.log.close()
        self.parts.close()

    def _go_on(self, saved: Saved | None) -> None:
        """Is where the checkpoint is, or at the beginning."""
        if saved is None:
            self.log.go_on(0, {"metrics": 0, "samples": 0})
            return
        run = saved.run
        self.log.go_on(run["step"], run)
        self.samples, self._told, self._last_evaluated = list(saved.samples), run["told"], run["last_evaluated"]
        self.progress.warnings[:] = dict.fromkeys([*run["warnings"], *self.progress.warnings])
        self.parts.panel.restore(run["panel"])
        self.progress.message(f"going on after step {self.log.step}, from a checkpoint")

    def _train(self, saved: Saved | None) -> None:
        from accelerate import DistributedType

        from copgkit.engine import checkpoints
        from copgkit.engine.training import Training

        parts, rounds = self.parts, self._rounds(saved)
        each = iter(rounds)
        first: list[Example] = []
        if saved is not None and saved.round is None and not self.opened.changed:
            total = self.log.step  # it was the last one: no round is asked for
        else:
            first = next(each)
            total = self._steps(len(first))
        self._make_room()
        training = Training(
            parts.policy,
            parts.objective,
            parts.settings,
            total,
            parts.accelerator,
            parts.moving_reference,
            self.progress.warning,
            self._keep_bad,
        )
        if saved is not None:
            checkpoints.restore(training, saved.tensors, saved.facts, saved.position)
            self._weights = _name_of(training)
            if rounds.present is not None:
                self._mark(training, rounds)
        with self.progress.phase("train", total=total, unit="steps") as phase:
            phase.advance(training.step)

            def on_step(step: int, row: dict[str, float]) -> None:
                self._log_step(step, row, phase)
                self._mark(training, rounds)
                self._saver.save_if_due()

            def between(step: int) -> None:
                every = self.recipe.evaluate.every
                if every and step and step % every == 0 and step < total and self._last_evaluated != step:
                    self._evaluate()
                    self._mark(training, rounds)
                    self._make_room()

            between(training.step)
            training.over(itertools.chain([first], each), on_step, between)
            self._saver.save_if_due(over=True)  # the last step may be one that was not taken
        self._saver.rest()
        if parts.accelerator.distributed_type == DistributedType.NO:
            parts.accelerator.free_memory()  # it keeps the optimiser, which the last evaluation has no use for

    def _steps(self, groups: int) -> int:
        """Optimiser steps of the run, whose first round has so many groups. Offline there is no other round."""
        wanted = self.recipe.train.steps
        if wanted is not None and self.parts.sampler.steps_per_round is not None:
            return wanted
        passes = self.parts.settings.steps_for(groups)
        return passes if wanted is None else min(passes, wanted)

    def _mark(self, training: Training, rounds: Rounds) -> None:
        """From here the run could go on."""
        assert rounds.present is not None
        self._weights = _name_of(training)
        run = {
            "step": self.log.step,
            "last_evaluated": self._last_evaluated,
            "told": list(self._told),
            "warnings": list(self.progress.warnings),
            "panel": self.parts.panel.state(),
        }
        self._saver.mark(training, rounds.present, run, self.samples)

    def _make_room(self) -> None:
        released = self.parts.make_room()
        if released and self.log.step == 0:
            self.progress.message(
                f"train: the policy and its optimiser have the memory; released until an evaluation asks:"
                f" {', '.join(released)}"
            )

    def _rounds(self, saved: Saved | None) -> Rounds:
        """Draws, scores and gives rounds of examples; offline there is one."""
        from copgkit.engine.rounds import Rounds

        parts = self.parts
        return Rounds(
            sampler=parts.sampler,
            policy=parts.policy,
            reference=parts.moving_reference,
            panel=parts.panel,
            groups_per_step=self.recipe.train.groups_per_step,
            keep=self._keep,
            log=self.log.add,
            progress=self.progress,
            present=saved.round if saved else None,
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

    def _log_step(self, step: int, row: dict[str, float], phase: Phase) -> None:
        self.log.step = step
        if row:
            refreshes = self.parts.moving_reference.refreshes
            self.log.add(row | ({"reference/refreshes/count": refreshes} if refreshes else {}))
        latest = {short: self.log.latest(name) for short, name in _SHOWN.items()}
        phase.advance(1, **{short: value for short, value in latest.items() if value is not None})

    def _evaluate(self) -> None:
        step, examination = self.log.step, self.parts.examination
        if not examination.prompts:
            self._last_evaluated = step
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
        self._last_evaluated = step

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
        record |= {"changed_on_the_way": list(self.opened.forced), "last_checkpoint": self._saver.end()}
        if self.main:
            with self.progress.phase("report", total=1, unit="page") as phase:
                write_outcome(self.folder, self.parts, self.log, self.samples, summary, record | {"rewards": rewards})
                phase.advance()
            self._saver.remove()
            self.folder.discard_what_served_going_on()
        rows, timings = tuple(self.log.rows), tuple(self.log.timings)
        return RunResult(self.folder.path, self.log.step, summary, warnings, rows, timings)


def _name_of(training: Training) -> str:
    """A name for the policy's weights as they are: completions are kept under it."""
    return f"policy {training.trail}"
