"""Runs a recipe: the only place where recipe, registry and engine meet.

    result = copgkit.run("recipes/tldr.yaml", set={"objective.beta": 0.1})

`parts` makes everything that a run needs, `phases` puts it to work in order, `log` takes its figures and `record` says
at the end what ran and with which result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copgkit.errors import CopgkitError
from copgkit.panel import open_store
from copgkit.progress import Progress
from copgkit.recipe import ResolvedRecipe, load_recipe, to_yaml
from copgkit.runner.phases import Run
from copgkit.runner.record import RunResult
from copgkit.store import RunFolder

__all__ = ["RunResult", "run"]


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
    silence_progress_of_libraries()
    ranks.join()
    _require_same_work(resolved)
    main = ranks.is_main()
    folder = ranks.from_main(lambda: RunFolder.create(Path(output) if output else resolved.default_output))
    try:
        work = Run(resolved, folder, progress if progress and main else Progress(), main)
        try:
            return work.from_prompts_to_report()
        finally:
            work.close()
    except BaseException:
        if main:
            folder.discard_if_nothing_was_made()
        raise


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


def silence_progress_of_libraries() -> None:
    """One program, one progress bar: ours."""
    import datasets
    from transformers.utils import logging

    logging.disable_progress_bar()
    datasets.disable_progress_bars()
