"""Everything that a run works with, made from its recipe.

    parts = Parts.of(resolved, folder, progress)

The cheap ones are made first, so that a fault in the data shows before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copgkit.assembly import Assembly
from copgkit.components import Evaluator
from copgkit.panel import make_panel, open_store
from copgkit.progress import Progress
from copgkit.recipe import ResolvedRecipe
from copgkit.reference_shelf import reference_shelf
from copgkit.samplers import Sampler
from copgkit.starting import collection_paused
from copgkit.store import RunFolder, ScoreStore
from copgkit.types import GenerationSettings, Prompt

if TYPE_CHECKING:
    from accelerate import Accelerator

    from copgkit.engine.evaluation import Examination
    from copgkit.engine.kept import KeptBatches
    from copgkit.engine.objectives import Objective
    from copgkit.engine.on_demand import OnDemand
    from copgkit.engine.policy import Policy
    from copgkit.engine.reference import Reference
    from copgkit.engine.scoring import Panel
    from copgkit.engine.training import TrainingSettings


@dataclass
class Parts:
    """What a run works with. prompts: those trained on. reference: the original, from which evaluation measures the KL;
    moving_reference: that of the loss, which may follow the policy."""

    resolved: ResolvedRecipe
    prompts: Sequence[Prompt]
    settings: TrainingSettings
    objective: Objective
    accelerator: Accelerator
    store: ScoreStore | None
    panel: Panel
    evaluators: Sequence[Evaluator]
    policy: Policy
    reference: OnDemand
    moving_reference: Reference
    sampler: Sampler
    examination: Examination

    @classmethod
    @collection_paused()
    def of(
        cls,
        resolved: ResolvedRecipe,
        folder: RunFolder,
        progress: Progress,
        kept: Mapping[str, KeptBatches] | None = None,
    ) -> Parts:
        """Makes every part. kept: where completions of the policy and the reference are kept, if they are. Raises
        CopgkitError for what the user can mend."""
        from copgkit.engine.accelerating import make_accelerator
        from copgkit.engine.evaluation import Examination
        from copgkit.engine.objectives import Objective

        recipe, used = resolved.recipe, resolved.parts
        settings = training_settings(resolved)
        accelerator = make_accelerator(settings.precision, recipe.train.trackers, folder.path)
        assembly = Assembly(resolved, progress, str(accelerator.device), kept or {})
        prompts = assembly.prompts(used.prompts)
        held_out = assembly.prompts(used.evaluation_prompts)[: recipe.evaluate.max_prompts]
        store = open_store(resolved, progress) or ScoreStore(folder.scores, progress.warning)
        panel = make_panel(resolved, assembly.context, progress, store)
        evaluators: list[Evaluator] = [part.make(assembly.context(part)) for part in used.evaluators]
        policy = assembly.policy()
        reference = assembly.reference(policy)
        of_the_loss = reference_of_the_loss(resolved, store, policy, reference, accelerator)
        writer = of_the_loss if resolved.reference_remembers else reference
        examination = Examination(
            policy=policy,
            reference=reference,
            prompts=held_out,
            samples_per_prompt=recipe.evaluate.samples_per_prompt,
            panel=panel,
            evaluators=evaluators,
            settings=GenerationSettings(temperature=recipe.evaluate.temperature, seed=recipe.seed),
            progress=progress,
        )
        return cls(
            resolved=resolved,
            prompts=prompts,
            settings=settings,
            objective=Objective(**recipe.objective.model_dump()),
            accelerator=accelerator,
            store=store,
            panel=panel,
            evaluators=evaluators,
            policy=policy,
            reference=reference,
            moving_reference=of_the_loss,
            sampler=assembly.sampler(used.sampler, prompts, policy, writer),
            examination=examination,
        )

    def make_room(self) -> list[str]:
        """Offline, once there are examples, only an evaluation asks reward models and the reference: training has the
        memory for itself, and each evaluation loads them again. Gives what was released."""
        if self.sampler.steps_per_round is not None:
            return []
        released = [*self.reference.release(), *self.panel.release()]
        for evaluator in self.evaluators:
            evaluator.release()
        return released

    def found(self) -> dict[str, Mapping[str, str]]:
        """What components say of this run, by their place in the recipe."""
        used = (self.resolved.parts.sampler, *self.resolved.parts.rewards, *self.resolved.parts.evaluators)
        components = (self.sampler, *(judge.source for judge in self.panel.judges), *self.evaluators)
        told = {part.key: dict(one.describe_run()) for part, one in zip(used, components, strict=True)}
        return {key: found for key, found in told.items() if found}

    def close(self) -> None:
        """Releases what the components hold."""
        self.panel.close()
        if self.store is not None:
            self.store.close()
        for component in (self.sampler, *self.evaluators):
            component.close()
        self.accelerator.end_training()


def training_settings(resolved: ResolvedRecipe) -> TrainingSettings:
    """The recipe's `train` section as the engine takes it."""
    from copgkit.engine.training import TrainingSettings

    other_rooms = {
        "steps",
        "compile",
        "gradient_checkpointing",
        "tokens_per_forward",
        "trackers",
        "checkpoint_every",
        "on_failed_checkpoint",
    }
    return TrainingSettings(seed=resolved.recipe.seed, **resolved.recipe.train.model_dump(exclude=other_rooms))


def reference_of_the_loss(
    resolved: ResolvedRecipe, store: ScoreStore | None, policy: Policy, original: OnDemand, accelerator: Accelerator
) -> Reference:
    """The original, or a copy of it that follows the policy if the recipe says so."""
    from copgkit.engine.reference import Reference

    settings = resolved.recipe.reference
    frozen = original if settings.refresh_every is None else original.frozen_copy()
    shelf = reference_shelf(resolved, store, policy, str(accelerator.device))
    return Reference(frozen, settings.refresh_every, settings.decay, accelerator.autocast, shelf)
