"""What a run would still have to compute, of what the store may have: `copgkit check --missing`.

    figures = missing(resolved, progress)

Scores are counted by copgkit/panel.py. The reference's log-probabilities of recorded groups are looked up as a run
does, with the model loaded: how it is run, and how its tokenizer reads a completion, is part of what they are found by.
Limits: a run that leaves out completions whose scores fail, or selects groups, asks for others.
"""

from __future__ import annotations

from copgkit.assembly import Assembly
from copgkit.panel import missing_scores, open_store
from copgkit.progress import Progress
from copgkit.recipe import Figure, ResolvedRecipe
from copgkit.reference_shelf import reference_shelf
from copgkit.types import Group

_NAME = "missing: reference"
_UNIT = "completions"


def missing(resolved: ResolvedRecipe, progress: Progress) -> list[Figure]:
    """How much each source, and the reference, would still be asked for. Loads the data, and for recorded groups the
    model. Raises CopgkitError for anything the user can mend."""
    figures = missing_scores(resolved, progress)
    if resolved.recipe.policy.use == "tabular":
        return figures
    return [*figures, _missing_log_probs(resolved, progress)]


def _missing_log_probs(resolved: ResolvedRecipe, progress: Progress) -> Figure:
    """Completions whose log-probabilities under the reference a run would compute."""
    if resolved.sampler_facts.plan.generator != "none":
        return Figure(_NAME, None, _UNIT, "the completions are yet to be generated")
    from accelerate import PartialState

    device = str(PartialState().device)
    assembly = Assembly(resolved, progress, device)
    prompts = assembly.prompts(resolved.parts.prompts)
    policy = assembly.policy(frozen=True)
    drawn, _ = policy.encode(assembly.sampler(resolved.parts.sampler, prompts, None, None).draw(None))
    groups = list({_content(group): group for group in drawn}.values())  # one that comes twice is computed once
    store = open_store(resolved, progress)
    shelf = reference_shelf(resolved, store, policy, device)
    try:
        found = [None] * len(groups) if shelf is None else shelf.find(groups)
    finally:
        if store is not None:
            store.close()
    count = sum(len(group.completions) for group, kept in zip(groups, found, strict=True) if kept is None)
    how = (
        "computed every time: no store keeps them"
        if shelf is None
        else "log-probabilities that the store does not have"
    )
    return Figure(_NAME, count, _UNIT, how)


def _content(group: Group) -> tuple[object, ...]:
    return group.prompt.content_key, *(completion.token_ids for completion in group.completions)
