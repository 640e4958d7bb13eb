"""Assembles a run: the only place where recipe, registry and engine meet.

    result = copgkit.run("recipes/tldr.yaml", set={"objective.beta": 0.1})

The order of a run: prompts -> sampler -> groups -> scores -> reference -> training -> evaluation -> report. The
untrained policy is evaluated first, so that a broken model, data file or reward source shows before any long work.
Offline, reward models and the reference leave the memory before the policy's optimiser is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copgkit.assembly import Assembly
from copgkit.components import Context, Evaluator
from copgkit.errors import CopgkitError
from copgkit.panel import make_panel, open_store
from copgkit.progress import Phase, Progress
from copgkit.recipe import ResolvedRecipe, load_recipe, to_yaml
from copgkit.reference_shelf import reference_shelf
from copgkit.report import Summary, cautions, diagnose, inspect_groups, model_card, summarise, write_report
from copgkit.store import Journal, RunFolder, collect, write_groups, write_samples
from copgkit.types import GenerationSettings, Sample, ScoredGroup

if TYPE_CHECKING:
    from copgkit.engine.reference import Example, Reference
    from copgkit.engine.training import TrainingSettings


@dataclass(frozen=True)
class RunResult:
    """What a run gave. folder holds model, report, metrics, groups and samples; rows are the metrics as logged."""

    folder: Path
    steps: int
    summary: Summary
    warnings: Sequence[str]
    rows: Sequence[Mapping[str, float]]


def run(
    recipe: str | Path,
    set: Mapping[str, Any] | Sequence[str] = (),
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Runs a recipe from prompts to an aligned model and a report.

    set: overrides, as {"objective.beta": 0.1} or ["objective.beta=0.1"]. output: the run folder; if it already holds a
    run, the next free name is taken. Raises CopgkitError for anything the user can mend.

    Processes that were launched together (`copgkit run --processes`, `accelerate launch`) each call this, share the
    work and all get the result; the main one alone shows progress and writes the folder.
    """
    from copgkit.engine import ranks

    resolved = load_recipe(recipe, set)
    _silence_progress_of_libraries()
    ranks.join()
    _require_same_work(resolved)
    main = ranks.is_main()
    folder = ranks.from_main(lambda: RunFolder.create(Path(output) if output else _default_folder(resolved)))
    try:
        work = _Run(resolved, folder, progress if progress and main else Progress(), main)
        try:
            return work.from_prompts_to_report()
        finally:
            work.close()
    except BaseException:
        if main:
            folder.discard_if_nothing_was_made()
        raise


class _Run:
    """The parts of one run and the order in which they work. main: this process writes the folder."""

    def __init__(self, resolved: ResolvedRecipe, folder: RunFolder, progress: Progress, main: bool = True) -> None:
        self.resolved, self.recipe, self.folder, self.progress = resolved, resolved.recipe, folder, progress
        self.main = main
        self.rows: list[dict[str, float]] = []
        self.samples: list[Sample] = []
        self.step = 0
        self.started = datetime.now(UTC)
        self._told: list[str] = []  # the kinds of diagnosis that were warned of
        if main:
            folder.write_recipe(resolved.text)
            folder.write_resolved(to_yaml(resolved))
        self.journal = Journal(folder.metrics)
        self._assemble()

    def _assemble(self) -> None:
        """Makes every part, the cheap ones first: a fault in the data shows before a model is loaded."""
        from copgkit.engine.accelerating import make_accelerator
        from copgkit.engine.evaluation import Examination
        from copgkit.engine.objectives import Objective

        recipe, parts = self.recipe, self.resolved.parts
        self.settings = _training_settings(self.resolved)
        self.objective = Objective(**recipe.objective.model_dump())
        self.accelerator = make_accelerator(recipe.train.precision, recipe.train.trackers, self.folder.path)
        assembly = Assembly(self.resolved, self.progress, str(self.accelerator.device))
        prompts = assembly.prompts(parts.prompts)
        held_out = assembly.prompts(parts.evaluation_prompts)[: recipe.evaluate.max_prompts]
        self.store = open_store(self.resolved, self.progress)
        self.panel = make_panel(self.resolved, assembly.context, self.progress, self.store)
        self.evaluators: list[Evaluator] = [part.make(assembly.context(part)) for part in parts.evaluators]
        self.policy = assembly.policy()
        self.reference = assembly.reference(self.policy)  # the original, from which evaluation measures the KL
        self.moving_reference = self._reference_of_the_loss()
        self.sampler = assembly.sampler(parts.sampler, prompts, self.policy, self.reference)
        self.examination = Examination(
            policy=self.policy,
            reference=self.reference,
            prompts=held_out,
            samples_per_prompt=recipe.evaluate.samples_per_prompt,
            panel=self.panel,
            evaluators=self.evaluators,
            settings=GenerationSettings(temperature=recipe.evaluate.temperature, seed=recipe.seed),
            progress=self.progress,
        )

    def _reference_of_the_loss(self) -> Reference:
        """The original, or a copy of it that follows the policy if the recipe says so."""
        from copgkit.engine.reference import Reference

        settings = self.recipe.reference
        policy = self.reference if settings.refresh_every is None else self.reference.frozen_copy()
        shelf = reference_shelf(self.resolved, self.store, self.policy, str(self.accelerator.device))
        return Reference(policy, settings.refresh_every, settings.decay, self.accelerator.autocast, shelf)

    def from_prompts_to_report(self) -> RunResult:
        """The whole run, in order."""
        self._evaluate()
        self._train()
        if self.main:
            self.policy.save(self.folder.model)
        if self.step != self._last_evaluated:
            self._evaluate()
        return self._report()

    def close(self) -> None:
        """Releases what the components hold."""
        self.panel.close()
        if self.store is not None:
            self.store.close()
        for component in (self.sampler, *self.evaluators):
            component.close()
        self.accelerator.end_training()

    def _train(self) -> None:
        from accelerate import DistributedType

        from copgkit.engine.training import align

        rounds = self._rounds()
        first = next(rounds)
        total = self.recipe.train.steps or self.settings.steps_for(len(first))
        self._make_room()
        with self.progress.phase("train", total=total, unit="steps") as phase:
            align(
                self.policy,
                itertools.chain([first], rounds),
                self.objective,
                self.settings,
                total,
                on_step=lambda step, row: self._after_step(step, row, phase, total),
                accelerator=self.accelerator,
                reference=self.moving_reference,
                tell=self.progress.warning,
                keep_bad=self._keep_bad,
            )
        if self.accelerator.distributed_type == DistributedType.NO:
            self.accelerator.free_memory()  # it keeps the optimiser, which the last evaluation has no use for

    def _make_room(self) -> None:
        """Offline, once there are examples, only an evaluation asks reward models and the reference: training has the
        memory for itself, and each evaluation loads them again."""
        if self.sampler.steps_per_round is not None:
            return
        released = [*self.reference.release(), *self.panel.release()]
        for evaluator in self.evaluators:
            evaluator.release()
        if released and self.step == 0:
            self.progress.message(
                f"train: the policy and its optimiser have the memory; released until an evaluation asks:"
                f" {', '.join(released)}"
            )

    def _rounds(self) -> Iterator[list[Example]]:
        """Draws, scores and gives rounds of examples; offline there is one."""
        from copgkit.engine.rounds import Rounds

        return iter(
            Rounds(
                sampler=self.sampler,
                policy=self.policy,
                reference=self.moving_reference,
                panel=self.panel,
                groups_per_step=self.recipe.train.groups_per_step,
                keep=self._keep,
                log=self._log,
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
        self.step = step
        if row:
            refreshes = self.moving_reference.refreshes
            self._log(row | ({"reference/refreshes/count": refreshes} if refreshes else {}))
        shown = {"reward": "eval/reward/mean", "kl": "eval/kl/mean", "residual": "train/residual/rms"}
        latest = {short: self._latest(name) for short, name in shown.items()}
        phase.advance(1, **{short: value for short, value in latest.items() if value is not None})
        every = self.recipe.evaluate.every
        if every and step % every == 0 and step < total:
            self._evaluate()
            self._make_room()

    def _evaluate(self) -> None:
        self._last_evaluated = self.step
        if not self.examination.prompts:
            return
        with self.accelerator.autocast():  # the same precision for policy and reference
            row, samples = self.examination.hold(self.step)
        self._log({**row, **self.panel.take_store_figures()})
        if self.main:
            write_samples(self.folder.samples, self.step, samples, self.examination.reference_samples)
        self.samples = samples
        for warning in diagnose(self.rows, samples, self.examination.reference_samples):
            kind = warning.partition(":")[0]
            if kind not in self._told:  # the figures in it change from one evaluation to the next
                self._told.append(kind)
                self.progress.warning(warning)

    def _report(self) -> RunResult:
        from copgkit.engine import ranks

        for warning in itertools.chain.from_iterable(ranks.gathered(self.progress.warnings)):
            self.progress.warning(warning)
        rewards = [sample.reward for sample in self.examination.reference_samples if sample.reward is not None]
        summary = summarise(self.rows, rewards)
        record = self._record(summary)
        if self.main:
            self._write_report(summary, record)
        return RunResult(self.folder.path, self.step, summary, tuple(self.progress.warnings), tuple(self.rows))

    def _write_report(self, summary: Summary, record: dict[str, Any]) -> None:
        self.folder.write_run_json(record)
        if self.recipe.policy.use == "causal-lm":
            base = self.recipe.policy.model
            on_hub = not Context(folder=self.resolved.folder).path(base).exists()
            self.folder.write_model_card(model_card(summary, record, base, on_hub, to_yaml(self.resolved)))
        write_report(
            self.folder,
            self.rows,
            self.samples,
            self.examination.reference_samples,
            summary,
            self.progress.warnings,
            record,
            [figure for evaluator in self.evaluators for figure in evaluator.figures()],
        )

    def _record(self, summary: Summary) -> dict[str, Any]:
        """What run.json says: what ran, on what, with which result."""
        from copgkit.engine import ranks

        values = dict(self.resolved.values())
        paths = {
            key: value
            for key, value in values.items()
            if isinstance(value, str) and key not in ("output", "scoring.store")
        }
        paths |= {f"plugins[{n}]": file for n, file in enumerate(self.recipe.plugins)}
        changed = {key: str(value) for key, value in values.items() if self.resolved.origins.get(key) == "--set"}
        return collect(self.resolved.path, paths, self.recipe.seed, self.started) | {
            "result": summary.headline,
            "steps": self.step,
            "overrides": changed,
            "components": {
                part.key: f"{part.registered.name} ({part.registered.owner})" for part in self.resolved.parts
            },
            "found": self._found(),
            "device": str(self.accelerator.device),
            "processes": ranks.count(),
            "warnings": list(self.progress.warnings),
            "scoring": self.panel.record(),
            "reference": self.moving_reference.record(),
        }

    def _found(self) -> dict[str, dict[str, str]]:
        """What components say of this run, by their place in the recipe."""
        parts = self.resolved.parts
        used = (parts.sampler, *parts.rewards, *parts.evaluators)
        components = (self.sampler, *(judge.source for judge in self.panel.judges), *self.evaluators)
        told = {part.key: dict(one.describe_run()) for part, one in zip(used, components, strict=True)}
        return {key: found for key, found in told.items() if found}

    def _log(self, figures: Mapping[str, float]) -> None:
        row = {"step": self.step, **figures}
        self.rows.append(row)
        if self.main:
            self.journal.append(row)
        self.accelerator.log(dict(figures), step=self.step)

    def _latest(self, name: str) -> float | None:
        return next((row[name] for row in reversed(self.rows) if name in row), None)


def _training_settings(resolved: ResolvedRecipe) -> TrainingSettings:
    from copgkit.engine.training import TrainingSettings

    other_rooms = {"steps", "gradient_checkpointing", "tokens_per_forward", "trackers"}
    return TrainingSettings(seed=resolved.recipe.seed, **resolved.recipe.train.model_dump(exclude=other_rooms))


def _require_same_work(resolved: ResolvedRecipe) -> None:
    """Raises CopgkitError where processes that were launched together do not have the same recipe (with every default,
    and copgkit's version) and score store, or are more than a step has groups."""
    from copgkit.engine import ranks

    store = open_store(resolved, Progress())
    ranks.require_same("recipe", to_yaml(resolved))
    ranks.require_same("score store", "none" if store is None else str(store.path.resolve()))
    groups = resolved.recipe.train.groups_per_step
    if groups < ranks.count():
        raise CopgkitError(
            f"train.groups_per_step: {groups} groups cannot be divided among {ranks.count()} processes, and a group is"
            " never split. Raise it, or start fewer processes."
        )


def _silence_progress_of_libraries() -> None:
    """One program, one progress bar: ours."""
    import datasets
    from transformers.utils import logging

    logging.disable_progress_bar()
    datasets.disable_progress_bars()


def _default_folder(resolved: ResolvedRecipe) -> Path:
    if resolved.recipe.output:
        return resolved.folder / resolved.recipe.output
    return Path("runs") / resolved.path.stem
