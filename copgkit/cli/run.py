"""copgkit run RECIPE: from prompts to an aligned model and a report."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copgkit import interrupts
from copgkit.cli.arguments import AsJson, Changes, RecipeFile, output_to
from copgkit.cli.check import check
from copgkit.cli.terminal import print_json
from copgkit.launched import is_main, is_one_of_several, tell

if TYPE_CHECKING:
    from copgkit.runner import RunResult


def run(
    recipe: RecipeFile,
    changes: Changes = None,
    output: Annotated[Path | None, output_to("FOLDER", "The run folder.")] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", min=1, metavar="N", help="Share the work among N processes on this machine, one GPU each."
        ),
    ] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin a new run, under the next free name if the folder is in use.")
    ] = False,
    force_resume: Annotated[
        bool,
        typer.Option("--force-resume", help="Go on although recipe, data or libraries changed; no longer bit-exact."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and the run folder only.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done: what `copgkit check --missing` prints.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe: sample, score, train, evaluate, report. Once more, it goes on where it was broken off.

    SIGTERM, Ctrl-C and SIGUSR1 save the run and end it with status 75; a second one ends it at once.
    """
    from copgkit.recipe import load_recipe
    from copgkit.store import RunLock

    if dry_run:
        check(recipe, changes, as_json, missing=True)
        return
    with _ending_in_order():
        # A recipe with a fault, and a folder in use, are refused before torch is imported, in a fraction of a second.
        resolved = load_recipe(recipe, changes or ())
        if not fresh and not is_one_of_several():  # of several, the first may have it already
            RunLock.look(output or resolved.default_output)
        if processes > 1:
            from copgkit.cli.processes import run_together

            command = _command(recipe, changes or [], output, fresh, force_resume, quiet, as_json)
            status = run_together(command, processes)
            if status == interrupts.EXIT_STATUS:
                raise interrupts.Interrupted
            raise typer.Exit(status)
        _run_here(recipe, changes or [], output, fresh, force_resume, quiet, as_json)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Heeds signals, and ends with the status that says so. typer would make 130 of the exception."""
    try:
        with interrupts.heeded():
            yield
    except interrupts.Interrupted:
        tell("Interrupted. The same command goes on from what is saved.")
        raise typer.Exit(interrupts.EXIT_STATUS) from None


def _run_here(
    recipe: Path, changes: list[str], output: Path | None, fresh: bool, force_resume: bool, quiet: bool, as_json: bool
) -> None:
    """The run in this process, and what is printed of it."""
    with interrupts.held_back():  # an import that is broken off may leave half of a library
        from copgkit.report.terminal import make_progress, print_summary
        from copgkit.runner import run as run_recipe
    interrupts.leave_if_asked()
    result = run_recipe(recipe, changes, output, make_progress(quiet=quiet or as_json), fresh, force_resume)
    if not is_main():
        return
    if as_json:
        print_json(_as_data(result))
        return
    if not quiet:
        print_summary(result.summary)
    print(result.folder)


def _as_data(result: RunResult) -> dict[str, Any]:
    """The result for scripts: figures at the end by name, each with its 95 % interval, and before where measured."""
    summary = result.summary
    return {
        "folder": str(result.folder),
        "steps": result.steps,
        "headline": summary.headline,
        "before": {line.name: vars(line.before) for line in summary.lines if line.before is not None},
        "after": {line.name: vars(line.after) for line in summary.lines},
        "warnings": list(result.warnings),
    }


def _command(
    recipe: Path, changes: list[str], output: Path | None, fresh: bool, force_resume: bool, quiet: bool, as_json: bool
) -> list[str]:
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
    line += ["--fresh"] * fresh + ["--force-resume"] * force_resume
    return line + ["--quiet"] * quiet + ["--json"] * as_json + ["--debug"] * ("--debug" in sys.argv)
