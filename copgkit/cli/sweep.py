"""copgkit sweep RECIPE --set KEY=VALUE,VALUE: several values on the same scored groups, and one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copgkit.cli.arguments import AsJson, Quiet, RecipeFile, output_to
from copgkit.cli.comparing import results
from copgkit.cli.terminal import print_json

if TYPE_CHECKING:
    from copgkit.sweeping import SweepResult


def sweep(
    recipe: RecipeFile,
    changes: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE,...",
            help="Values of a key, parted by commas, as in objective.beta=0.1,0.3. May be repeated: every combination"
            " is run. A single value holds for all rows.",
            show_default=False,
        ),
    ],
    output: Annotated[Path | None, output_to("FOLDER", "The folder of the sweep; one that is there goes on.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run several values of a recipe on the same scored groups, and compare them in one report.

    May vary: the objective, the reference, training, and weights and maps of rewards. Rows that are finished are not
    run again.
    """
    from copgkit.recipe import load_recipe
    from copgkit.report.terminal import make_progress
    from copgkit.sweeping import read_grid
    from copgkit.sweeping import sweep as run_sweep

    grid = read_grid(changes)  # faults show before torch is imported
    for row in grid.rows:
        load_recipe(recipe, [*grid.fixed, *row.changes])
    result = run_sweep(recipe, changes, output, make_progress(quiet=quiet or as_json))
    if as_json:
        print_json(_as_data(result))
        return
    if not quiet:
        print("\n".join(results(result.comparison)))
        print()
    print(result.folder)


def _as_data(result: SweepResult) -> dict[str, Any]:
    from copgkit.report import comparison_data

    return comparison_data(result.comparison) | {
        "folder": str(result.folder),
        "ran": list(result.ran),
        "found": list(result.found),
    }
