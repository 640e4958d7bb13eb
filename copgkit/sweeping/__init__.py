"""One recipe with several values of what comes after its groups, on the same scored groups, in one process.

    result = copgkit.sweep("recipes/tldr.yaml", ["objective.beta=0.25,0.5,1", "objective.use=copg,ipo,dpo"])

Groups are drawn and scored once, the reference reads them once, the untrained policy is evaluated once; each row then
trains from the same weights and the same random state, to the weights that `copgkit run` with its values gives. A row
that is finished is not run again, so that a sweep that was stopped goes on with the row in which it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from copgkit.errors import CopgkitError, RecipeError
from copgkit.progress import Progress
from copgkit.recipe import ResolvedRecipe, load_recipe, to_yaml
from copgkit.report import Comparison, is_finished, read_run, write_comparison
from copgkit.sweeping.grid import Grid, GridRow, read_grid

__all__ = ["Grid", "GridRow", "SweepResult", "read_grid", "sweep"]

ROWS = "rows"
MARK = "sweep.yaml"


@dataclass(frozen=True)
class SweepResult:
    """What a sweep gave. folder holds a run folder for each row, and the report; ran and found: the rows that were run
    now, and those that were there."""

    folder: Path
    comparison: Comparison
    ran: tuple[str, ...]
    found: tuple[str, ...]


def sweep(
    recipe: str | Path, set: Sequence[str], output: str | Path | None = None, progress: Progress | None = None
) -> SweepResult:
    """Runs every combination of the values in `set`, and writes one report of all.

    set: "KEY=VALUE,VALUE,..." for what varies, "KEY=VALUE" for what does not. output: the folder, by default
    `<run folder>-sweep`; if it holds rows of this recipe, those that are missing are run. Raises CopgkitError for
    anything the user can mend, before anything runs where it can be known.
    """
    progress = progress or Progress()
    grid = read_grid(set)
    resolved = {row.label: load_recipe(recipe, [*grid.fixed, *row.changes]) for row in grid.rows}
    base = next(iter(resolved.values()))
    _require_one_round(base)
    folder = Path(output) if output else base.default_output.with_name(f"{base.default_output.name}-sweep")
    rows = {row.label: folder / ROWS / row.folder for row in grid.rows}
    found = [label for label, path in rows.items() if _is_done(path, resolved[label])]
    missing = [label for label in rows if label not in found]
    if found:
        progress.message(f"sweep: {len(found)} of {len(rows)} rows are finished already")
    if missing:
        _run_rows({label: (resolved[label], rows[label]) for label in missing}, folder, progress)
    comparison = Comparison([read_run(path, label) for label, path in rows.items()])
    write_comparison(folder / "report.html", folder.resolve().name, comparison)
    return SweepResult(folder, comparison, tuple(missing), tuple(found))


def _require_one_round(base: ResolvedRecipe) -> None:
    """Raises RecipeError where the groups depend on the policy that a row trains."""
    facts = base.sampler_facts
    if facts.steps_per_round is not None:
        raise RecipeError(
            f"{base.path}: sampler '{facts.name}' draws fresh groups while it trains, so that rows cannot share them."
            " Use a sampler that draws once (reference, recorded), or `copgkit run` for each value."
        )


def _is_done(path: Path, resolved: ResolvedRecipe) -> bool:
    """Whether the row is finished. Raises CopgkitError for a row of the same name that another recipe has made."""
    if not is_finished(path):
        return False
    if (path / "resolved.yaml").read_text(encoding="utf-8") != to_yaml(resolved):
        raise CopgkitError(
            f"{path}: this row was run with another recipe than {resolved.path} is now. Choose another folder with"
            " --output, or remove this one."
        )
    return True


def _run_rows(rows: dict[str, tuple[ResolvedRecipe, Path]], folder: Path, progress: Progress) -> None:
    """Runs the rows one after the other, on parts that are made once."""
    from copgkit.engine import ranks
    from copgkit.runner.opening import Opened
    from copgkit.runner.phases import Run
    from copgkit.store import RunFolder
    from copgkit.sweeping.shared import SharedParts

    ranks.join()
    if ranks.count() > 1:
        raise CopgkitError("copgkit sweep: it was launched in several processes, and works in one. Start it alone.")
    folder.mkdir(parents=True, exist_ok=True)
    shared = SharedParts(next(iter(rows.values()))[0], folder, progress)
    try:
        for number, (label, (resolved, path)) in enumerate(rows.items(), start=1):
            progress.message(f"sweep: row {number} of {len(rows)}: {label}")
            if path.exists():
                shutil.rmtree(path)  # of a row that was stopped
            progress.warnings[:] = shared.warnings
            run_folder = RunFolder.create(path, fresh_name=False)
            parts = shared.parts_of_row(resolved, run_folder)
            run = Run(resolved, Opened(run_folder, label), progress, parts=parts)
            try:
                run.from_prompts_to_report()
            finally:
                run.close()
    finally:
        shared.close()
