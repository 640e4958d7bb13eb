"""copgkit: align a language model with any score a sequence can be given, by Contrastive Policy Gradient.

This is the public API. Plugins import from here and from nowhere deeper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from copgkit.components import Component, Context, Evaluator, PromptSource, RewardSource
from copgkit.errors import CopgkitError, DataError, ModelError, PluginError, RecipeError, RewardError, TrainingError
from copgkit.hookspecs import hookimpl
from copgkit.interrupts import Interrupted
from copgkit.progress import Phase, Progress
from copgkit.samplers import Generator, Sampler, SamplerContext, SamplerUse, SamplingPlan
from copgkit.types import (
    Completion,
    Curves,
    Estimate,
    Evaluation,
    GenerationSettings,
    Group,
    Message,
    PairWeights,
    Prompt,
    Recorded,
    Sample,
    Score,
    ScoredGroup,
)
from copgkit.workers import bounded_map

if TYPE_CHECKING:
    from copgkit.preparing import sample_groups, score_groups
    from copgkit.recipe import Recipe, load_recipe
    from copgkit.runner import RunResult, run
    from copgkit.store import open_lines, read_rows, scored_group_from_row, scored_group_to_row
    from copgkit.sweeping import SweepResult, sweep

_HEAVY = {
    "run": "copgkit.runner",
    "RunResult": "copgkit.runner",
    "load_recipe": "copgkit.recipe",
    "Recipe": "copgkit.recipe",
    "open_lines": "copgkit.store",
    "sample_groups": "copgkit.preparing",
    "score_groups": "copgkit.preparing",
    "sweep": "copgkit.sweeping",
    "SweepResult": "copgkit.sweeping",
    "read_rows": "copgkit.store",
    "scored_group_from_row": "copgkit.store",
    "scored_group_to_row": "copgkit.store",
}


def __getattr__(name: str) -> Any:
    """Imports what needs more than the plain types only when it is asked for."""
    if name in _HEAVY:
        from importlib import import_module

        return getattr(import_module(_HEAVY[name]), name)
    raise AttributeError(f"module 'copgkit' has no attribute {name!r}")


__all__ = [
    "Completion",
    "Component",
    "Context",
    "CopgkitError",
    "Curves",
    "DataError",
    "Estimate",
    "Evaluation",
    "Evaluator",
    "GenerationSettings",
    "Generator",
    "Group",
    "Interrupted",
    "Message",
    "ModelError",
    "PairWeights",
    "Phase",
    "PluginError",
    "Progress",
    "Prompt",
    "PromptSource",
    "Recipe",
    "RecipeError",
    "Recorded",
    "RewardError",
    "RewardSource",
    "RunResult",
    "Sample",
    "Sampler",
    "SamplerContext",
    "SamplerUse",
    "SamplingPlan",
    "Score",
    "ScoredGroup",
    "SweepResult",
    "TrainingError",
    "bounded_map",
    "hookimpl",
    "load_recipe",
    "open_lines",
    "read_rows",
    "run",
    "sample_groups",
    "score_groups",
    "scored_group_from_row",
    "scored_group_to_row",
    "sweep",
]
