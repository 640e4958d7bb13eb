"""copgkit run RECIPE: from prompts to an aligned model and a report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from copgkit.cli.arguments import Changes, RecipeFile
from copgkit.launched import is_main


def run(
    recipe: RecipeFile,
    changes: Changes = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="The run folder.", show_default=False)
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", min=1, metavar="N", help="Share the work among N processes on this machine, one GPU each."
        ),
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and the run folder only.")] = False,
) -> None:
    """Run a recipe: sample, score, train, evaluate, report."""
    from copgkit.recipe import load_recipe

    # A recipe with a fault is refused before torch is imported, in a fraction of a second.
    load_recipe(recipe, changes or ())
    if processes > 1:
        from copgkit.cli.processes import run_together

        raise typer.Exit(run_together(_command(recipe, changes or [], output, quiet), processes))
    from copgkit.report.terminal import make_progress, print_summary
    from copgkit.runner import run as run_recipe

    result = run_recipe(recipe, set=changes or [], output=output, progress=make_progress(quiet=quiet))
    if not is_main():
        return
    if not quiet:
        print_summary(result.summary)
    print(result.folder)


def _command(recipe: Path, changes: list[str], output: Path | None, quiet: bool) -> list[str]:
    """The command line of each of several processes."""
    line = [
        sys.executable,
        "-m",
        "copgkit",
        "run",
        str(recipe),
        *(word for change in changes for word in ("--set", change)),
    ]
    line += ["--output", str(output)] if output else []
    return line + ["--quiet"] * quiet + ["--debug"] * ("--debug" in sys.argv)
