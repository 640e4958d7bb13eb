"""The panel of a recipe: its reward sources with their maps, and the score store that keeps what they say.

store = open_store(resolved, progress)
panel = make_panel(resolved, context_of, progress, store)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from copgkit.components import Context, RewardSource
from copgkit.errors import PluginError
from copgkit.plugin_code import code_digest
from copgkit.progress import Progress
from copgkit.recipe import Figure, Part, ResolvedRecipe
from copgkit.samplers import SamplerContext
from copgkit.store import ScoreStore, SourceIdentity, default_store_path

if TYPE_CHECKING:
    from copgkit.engine.scoring import Panel

_TO_COME = "the completions are yet to be generated"


def open_store(resolved: ResolvedRecipe, progress: Progress) -> ScoreStore | None:
    """The score store that the recipe names; None if it wants none. Nothing is opened before it is needed."""
    named = resolved.recipe.scoring.store
    if named is None:
        return None
    path = default_store_path() if named == "cache" else Context(folder=resolved.folder).path(named)
    return ScoreStore(path, progress.warning)


def stored_identities(resolved: ResolvedRecipe) -> list[SourceIdentity]:
    """Who the recipe's sources are to the score store, of those whose scores are kept; made without a model for them
    to run on."""
    found = []
    for part in resolved.parts.rewards:
        source = part.make(_context(resolved, Progress(), part))
        if source.stored:
            found.append(identity(part, source))
        source.close()
    return found


def missing_scores(resolved: ResolvedRecipe, progress: Progress) -> list[Figure]:
    """How many scores of the recorded completions each source would still be asked for; what is yet to be generated is
    not known. It loads the data and asks the sources who they are, which may take a while."""
    if resolved.sampler_facts.plan.generator != "none":
        return [Figure(f"missing: {part.label}", None, "scores", _TO_COME) for part in resolved.parts.rewards]
    context = partial(_context, resolved, progress)
    store = open_store(resolved, progress)
    panel = make_panel(resolved, context, progress, store)
    try:
        prompts = list(resolved.parts.prompts.make(context(resolved.parts.prompts)).load())
        plain = vars(context(resolved.parts.sampler))
        groups = resolved.parts.sampler.make(SamplerContext(**plain, prompts=prompts)).draw(None)
        return [
            Figure(f"missing: {one.label}", one.missing(groups), "scores", _how_missing(one.source))
            for one in panel.askers
        ]
    finally:
        panel.close()
        if store is not None:
            store.close()


def make_panel(
    resolved: ResolvedRecipe, context_of: Callable[[Part], Context], progress: Progress, store: ScoreStore | None
) -> Panel:
    """Makes every reward source and the panel over them. Closing the panel closes the sources, not the store."""
    from copgkit.engine.judge import Judge
    from copgkit.engine.scoring import Panel

    judges = []
    for part, use in zip(resolved.parts.rewards, resolved.recipe.rewards, strict=True):
        source: RewardSource = part.make(context_of(part))
        shelf = None
        if store is not None and source.stored:
            shelf = store.shelf(partial(identity, part, source), source.reads_recorded_scores)
        judges.append(Judge(part.label, source, use.weight, use.clip, use.scale, use.shift, shelf))
    settings = resolved.recipe.scoring
    return Panel(
        judges,
        settings.on_failure,
        settings.unfinished_penalty,
        progress,
        settings.max_failed_share,
        settings.timeout_seconds,
    )


def identity(part: Part, source: RewardSource) -> SourceIdentity:
    """Who a source is to the score store. Asking may read a whole checkpoint. Raises PluginError naming its owner."""
    item = part.registered
    with item.blamed_for("fingerprint()"):
        fingerprint = source.fingerprint()
    if not isinstance(fingerprint, str):
        words = f"reward source '{item.name}' ({item.owner}): fingerprint() gave a {type(fingerprint).__name__}"
        raise PluginError(f"{words}. It must give text; this is for its author to mend.")
    return SourceIdentity(item.distribution, item.name, item.version, fingerprint, code_digest(item.cls))


def _how_missing(source: RewardSource) -> str:
    if not source.stored:
        return "asked for every time: this source's scores are not kept"
    return "of the recorded completions, not in the score store; those of evaluation are yet to be generated"


def _context(resolved: ResolvedRecipe, progress: Progress, part: Part) -> Context:
    """What a component gets when nothing is to be trained."""
    return Context(part.label, resolved.folder, resolved.recipe.seed, progress=progress)
