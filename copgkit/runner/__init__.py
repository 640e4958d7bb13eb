"""Runs a recipe: the only place where recipe, registry and engine meet.

    result = copgkit.run("recipes/tldr.yaml", set={"objective.beta": 0.1})

`opening` finds the folder, `parts` makes everything that a run needs, `phases` puts it to work in order, `log` takes
its figures, `saving` has it go on where it was broken off, and `record` says at the end what ran with which result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from copgkit import interrupts
from copgkit.errors import CopgkitError
from copgkit.panel import open_store
from copgkit.progress import Progress
from copgkit.recipe import ResolvedRecipe, load_recipe, to_yaml
from copgkit.runner.identity import identity_of
from copgkit.runner.opening import Opened, open_folder
from copgkit.runner.phases import Run
from copgkit.runner.record import RunResult, finished_result
from copgkit.starting import collection_paused
from copgkit.store import Checkpoints, RunLock, says_full

__all__ = ["RunResult", "run"]


def run(
    recipe: str | Path,
    set: Mapping[str, Any] | Sequence[str] = (),
    output: str | Path | None = None,
    progress: Progress | None = None,
    fresh: bool = False,
    force_resume: bool = False,
) -> RunResult:
    """Runs a recipe from prompts to an aligned model and a report, or goes on with a run that was broken off.

    set: overrides, as {"objective.beta": 0.1} or ["objective.beta=0.1"]. output: the run folder. If this run was begun
    in it, it goes on from where it was, to the same result bit for bit; if it was finished there, its result is given.
    fresh: begin a new one under the next free name instead. force_resume: go on although recipe, data, models,
    libraries or the number of processes are others, which run.json then says.

    Raises CopgkitError for anything the user can mend, and Interrupted (a KeyboardInterrupt) when SIGTERM, SIGINT or
    SIGUSR1 asks the main thread to end: the run is saved then.

    Processes that were launched together (`copgkit run --processes`, `accelerate launch`) each call this, share the
    work and all get the result; the main one alone shows progress and writes the folder.
    """
    with collection_paused():
        from copgkit.engine import ranks

    resolved = load_recipe(recipe, set)
    with interrupts.heeded(), ranks.joined():
        _require_same_work(resolved)
        progress = progress if progress and ranks.is_main() else Progress()
        wanted = Path(output) if output else resolved.default_output
        with _opened(resolved, wanted, fresh, force_resume) as opened:
            if opened.finished:
                progress.message(f"{opened.folder.path}: this run is finished. --fresh begins a new one.")
                if ranks.is_main():
                    _remove_what_is_left(opened, progress)
                return finished_result(opened.folder)
            if opened.elsewhere:
                progress.warning(
                    f"going on: {'; '.join(opened.elsewhere)}. Last digits depend on it: the result is no longer bit"
                    " for bit that of a run without a break, which run.json says."
                )
            return _run(resolved, opened, progress)


def _run(resolved: ResolvedRecipe, opened: Opened, progress: Progress) -> RunResult:
    from copgkit.engine import ranks

    main = ranks.is_main()
    try:
        work = Run(resolved, opened, progress, main)
        try:
            return work.from_prompts_to_report()
        finally:
            work.close()
    except BaseException as fault:
        if main:
            opened.folder.discard_if_nothing_was_made()
        if interrupts.is_asked() and not isinstance(fault, interrupts.Interrupted):
            raise interrupts.Interrupted("a signal asked the run to end") from fault  # another process has left first
        if isinstance(fault, OSError) and says_full(fault):
            raise CopgkitError(
                f"{opened.folder.path}: {fault.filename or 'a file'} could not be written ({fault.strerror})."
                " Make room; the same command then goes on from what is saved."
            ) from fault
        raise


@contextmanager
def _opened(resolved: ResolvedRecipe, wanted: Path, fresh: bool, force: bool) -> Iterator[Opened]:
    """The run folder, in which no other run works while this lasts."""
    from copgkit.engine import ranks

    locks: list[RunLock] = []

    def open_it() -> Opened:
        opened, lock = open_folder(wanted, identity_of(resolved, ranks.count()), fresh, force)
        locks.append(lock)
        return opened

    try:
        yield ranks.from_main(open_it)
    finally:
        for lock in locks:
            lock.release()


def _remove_what_is_left(opened: Opened, progress: Progress) -> None:
    """A run that was killed after it had finished may have left what only an unfinished one needs."""
    Checkpoints(opened.folder.checkpoints, opened.run, progress.warning).remove()
    opened.folder.discard_what_served_going_on()


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
