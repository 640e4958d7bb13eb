"""What all rows of a sweep work with, made once: prompts, models, reward sources, and the reference's completions.

    shared = SharedParts(resolved, folder, progress)
    parts = shared.parts_of_row(resolved_row, row_folder)

Each row begins with the same weights and the same random state, so that it gives what a run of its own would give. What
is shared stays in memory: reward models and the reference are not released while a row trains, as a run would.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copgkit.assembly import Assembly
from copgkit.engine.kept import KeptBatches
from copgkit.progress import Progress
from copgkit.recipe import ResolvedRecipe
from copgkit.reference_shelf import reference_identity
from copgkit.runner.parts import Parts, reference_of_the_loss, training_settings
from copgkit.store import RunFolder, WrittenBatches
from copgkit.sweeping.memory_shelf import MemoryShelf

if TYPE_CHECKING:
    from copgkit.engine.policy import Policy
    from copgkit.engine.scoring import Panel

GENERATED = "generated.jsonl"
KEPT = "kept.sqlite"


class RowParts(Parts):
    """The parts of one row. Closing them leaves what is shared."""

    def make_room(self) -> list[str]:
        """Nothing: the next row needs the models as well."""
        return []

    def close(self) -> None:
        """Releases what belongs to this row alone."""
        for component in (self.sampler, *self.evaluators):
            component.close()
        self.accelerator.end_training()


class SharedParts:
    """Made from the recipe as the first row has it; rows differ from it only in what comes after the groups."""

    def __init__(self, resolved: ResolvedRecipe, folder: Path, progress: Progress) -> None:
        self._progress = progress
        # Scores and log-probabilities are kept somewhere, whatever the recipe says: a row must not compute them again.
        kept = str((folder / KEPT).resolve()) if resolved.recipe.scoring.store is None else None
        identity = _identity(resolved)
        # So are the reference's completions, also for a sweep that goes on after it was killed.
        written = KeptBatches(WrittenBatches(folder / GENERATED, progress.warning), lambda: identity)
        self._base = Parts.of(_storing_in(resolved, kept), RunFolder(folder), progress, {"reference": written})
        self._prompts = self._base.prompts
        self._judges = [replace(one, shelf=one.shelf or MemoryShelf()) for one in self._base.panel.judges]
        self._start = _Start(self._base.policy)
        self.warnings = list(progress.warnings)

    def parts_of_row(self, resolved: ResolvedRecipe, folder: RunFolder) -> RowParts:
        """What a run of this recipe would work with, as if freshly made."""
        from copgkit.engine.accelerating import make_accelerator
        from copgkit.engine.objectives import Objective

        base, recipe = self._base, resolved.recipe
        self._start.restore(base.policy)
        settings = training_settings(resolved)
        accelerator = make_accelerator(settings.precision, recipe.train.trackers, folder.path)
        assembly = Assembly(resolved, self._progress, str(accelerator.device))
        panel = self._panel_of(resolved)
        of_the_loss = reference_of_the_loss(resolved, base.store, base.policy, base.reference, accelerator)
        writer = of_the_loss if resolved.reference_remembers else base.reference
        evaluators = [part.make(assembly.context(part)) for part in resolved.parts.evaluators]
        parts = RowParts(
            resolved=resolved,
            prompts=self._prompts,
            settings=settings,
            objective=Objective(**recipe.objective.model_dump()),
            accelerator=accelerator,
            store=base.store,
            panel=panel,
            evaluators=evaluators,
            policy=base.policy,
            reference=base.reference,
            moving_reference=of_the_loss,
            sampler=assembly.sampler(resolved.parts.sampler, self._prompts, base.policy, writer),
            examination=replace(
                base.examination,
                panel=panel,
                evaluators=evaluators,
                reference_by_prompt=[],
            ),
        )
        self._start.restore_random_state()
        return parts

    def close(self) -> None:
        """Releases everything."""
        self._base.close()

    def _panel_of(self, resolved: ResolvedRecipe) -> Panel:
        """The same sources with this row's weights and maps."""
        recipe = resolved.recipe
        judges = [
            replace(judge, weight=use.weight, clip=use.clip, scale=use.scale, shift=use.shift)
            for judge, use in zip(self._judges, recipe.rewards, strict=True)
        ]
        return replace(
            self._base.panel,
            judges=judges,
            unfinished_penalty=recipe.scoring.unfinished_penalty,
            completions_dropped=0,
            groups_dropped=0,
        )


class _Start:
    """A policy's untrained weights and the random state beside them."""

    def __init__(self, policy: Policy) -> None:
        import numpy
        import torch

        self._module = policy.module
        self._weights = {
            name: weight.detach().clone() for name, weight in policy.module.named_parameters() if weight.requires_grad
        }
        self._random = (random.getstate(), numpy.random.get_state(), torch.get_rng_state())

    def restore(self, policy: Policy) -> None:
        """The policy as it was made, without what a row's training has wrapped around it."""
        import torch
        from accelerate.utils import extract_model_from_parallel

        policy.module = extract_model_from_parallel(self._module, keep_fp32_wrapper=False)
        with torch.no_grad():
            for name, weight in policy.module.named_parameters():
                if name in self._weights:
                    weight.copy_(self._weights[name])
                    weight.grad = None

    def restore_random_state(self) -> None:
        import numpy
        import torch

        random.setstate(self._random[0])
        numpy.random.set_state(self._random[1])
        torch.set_rng_state(self._random[2])


def _storing_in(resolved: ResolvedRecipe, kept: str | None) -> ResolvedRecipe:
    """The recipe with another score store, if there is one to use instead."""
    if kept is None:
        return resolved
    scoring = resolved.recipe.scoring.model_copy(update={"store": kept})
    return replace(resolved, recipe=resolved.recipe.model_copy(update={"scoring": scoring}))


def _identity(resolved: ResolvedRecipe) -> str:
    """What the reference's completions depend on beside what it is asked: its weights, and how it is loaded."""
    identity = reference_identity(resolved)
    settings: Any = resolved.recipe.policy
    return f"{None if identity is None else identity.digest.hex()} {settings.model_dump_json()}"
