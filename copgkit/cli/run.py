"""copgkit run RECIPE: from prompts to an aligned model and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from copgkit.cli.arguments import Changes, RecipeFile


def run(
    recipe: RecipeFile,
    changes: Changes = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="The run folder.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and the run folder only.")] = False,
) -> None:
    """Run a recipe: sample, score, train, evaluate, report."""
    from copgkit.recipe import load_recipe

    # A recipe with a fault is refused before torch is imported, in a fraction of a second.
    load_recipe(recipe, changes or ())
    from copgkit.report.terminal import make_progress, print_summary
    from copgkit.runner import run as run_recipe

    result = run_recipe(recipe, set=changes or [], output=output, progress=make_progress(quiet=quiet))
    if not quiet:
        print_summary(result.summary)
    print(result.folder)
