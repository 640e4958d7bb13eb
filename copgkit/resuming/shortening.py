"""A recipe cut down until a run of it takes seconds, with everything in it that a break could spoil.

    shortened(load_recipe("tldr.yaml"))      # ["prompts.options.limit=12", "train.groups_per_step=2", ...]

Only what says how much is done is lowered, and nothing is raised or left out: the same components, models and settings
meet the same breaks. What the user has set stays. Limits: a component whose options have no `limit` gives all it has.
"""

from __future__ import annotations

from collections.abc import Iterator

from copgkit.recipe import Part, ResolvedRecipe

_PROMPTS, _HELD_OUT = 12, 4
_GROUPS_A_STEP = 2
_STEPS = 8  # one more pass is begun where there are several, since 12 groups give 6 steps
_STEPS_OF_SECOND_ROUND = 2
_EVALUATE_EVERY, _REFRESH_EVERY = 4, 2


def shortened(resolved: ResolvedRecipe) -> list[str]:
    """The changes, as `--set` takes them."""
    changes = _highest(resolved)
    values = dict(resolved.values())
    return [
        f"{key}={highest}"
        for key, highest, even_if_unset in changes
        if resolved.origins.get(key) != "--set"
        and (even_if_unset if values.get(key) is None else values[key] > highest)
    ]


def _highest(resolved: ResolvedRecipe) -> Iterator[tuple[str, int, bool]]:
    """Keys, the highest value of each, and whether no value at all means more than that."""
    parts, round_length = resolved.parts, resolved.sampler_facts.steps_per_round or 0
    if _has_limit(parts.prompts):
        yield "prompts.options.limit", _PROMPTS, True
    if parts.evaluation_prompts is not None:
        has_limit = _has_limit(parts.evaluation_prompts)
        yield "evaluate.prompts.options.limit" if has_limit else "evaluate.max_prompts", _HELD_OUT, True
    yield "evaluate.every", _EVALUATE_EVERY, False
    yield "train.groups_per_step", _GROUPS_A_STEP, True
    yield "train.steps", max(_STEPS, round_length and round_length + _STEPS_OF_SECOND_ROUND), True
    yield "train.log_every", 1, True
    yield "reference.refresh_every", _REFRESH_EVERY, False


def _has_limit(part: Part) -> bool:
    return "limit" in type(part.options).model_fields
