"""copgkit verify: is the mathematics on this machine what the theory says, and does a recipe go on bit for bit?"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copgkit.cli.arguments import Changes, output_to
from copgkit.cli.terminal import print_json, wrapped
from copgkit.errors import CopgkitError
from copgkit.report.plain import plain

if TYPE_CHECKING:
    from copgkit.resuming import ResumeCheck, ResumeFinding


def verify(
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RECIPE",
            help="Check instead that this recipe, broken off at any moment and gone on with, ends byte for byte as"
            " without a break.",
            show_default=False,
        ),
    ] = None,
    changes: Changes = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="With --resume: run the recipe as it is, not cut down to seconds.")
    ] = False,
    output: Annotated[
        Path | None,
        output_to(
            "FOLDER",
            "With --resume: a new folder in which all its runs stay; else only those that differ do, elsewhere.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the losses and their optima on this machine against the exact theory; or that a recipe goes on bit for bit.

    The exit status is 1 if something does not hold.
    """
    if resume is not None:
        raise typer.Exit(_verify_resume(resume, changes or [], whole, output, json))
    if changes or whole or output is not None:
        raise CopgkitError("copgkit verify: --set, --whole and --output are for a recipe. Name it with --resume.")
    from copgkit.theory.verify import main

    raise typer.Exit(main(json))


def _verify_resume(recipe: Path, changes: list[str], whole: bool, output: Path | None, as_json: bool) -> int:
    """Prints what came of every break as it comes, and gives the exit status."""
    from copgkit.resuming import check_resume

    started, shortened, shown = time.monotonic(), list[str](), list[Sequence[str]]()

    def begin(changes: Sequence[str]) -> None:
        shortened.extend(changes)
        if not as_json:
            print(plain(_heading(recipe, changes)), flush=True)

    def report(finding: ResumeFinding) -> None:
        if not as_json:
            known = finding.differences in shown
            print(plain("\n".join(_lines(finding, known))), flush=True)
            shown.append(finding.differences)

    def say(text: str) -> None:
        if not as_json:
            print(plain(text), file=sys.stderr, flush=True)

    check = check_resume(recipe, changes, whole, output, begin, report, say)
    seconds = time.monotonic() - started
    if as_json:
        print_json(_as_data(recipe, shortened, check, seconds))
    else:
        print("\n" + plain("\n".join(wrapped(_verdict(check, seconds)))))
    return 0 if check.holds else 1


def _heading(recipe: Path, shortened: Sequence[str]) -> str:
    how = f"shortened, which --whole does not: {' '.join(shortened)}" if shortened else "as it is"
    return f"{recipe}, {how}\n"


def _lines(finding: ResumeFinding, known: bool) -> list[str]:
    """known: the same differences were shown before."""
    verdict = "ok    " if finding.holds else "FAILED"
    how = "Ctrl-C" if finding.asked else "killed"
    went_on = f"went on from {finding.went_on}" if finding.went_on else ""
    first = f"{verdict} {how} {finding.where:<70} {went_on}".rstrip()
    differences = ["the same differences"] if known and finding.differences else finding.differences
    return [first, *(f"         {difference}" for difference in differences)]


def _verdict(check: ResumeCheck, seconds: float) -> str:
    count = f"{len(check.findings)} breaks in {seconds:.0f} s"
    kept = f" The runs are in {check.folder}." if check.folder else ""
    if check.holds:
        same = f"each of {check.files} files ends byte for byte as without a break, sha256 {check.sha256[:16]}"
        return f"{count}: {same}.{kept}"
    failed = f"{sum(not one.holds for one in check.findings)} FAILED"
    why = (
        "A second run without a break is the same as the first, so that it is the break that changes it: something the"
        " run has in memory is neither saved nor made again."
        if check.repeatable
        else "A second run without a break differs from the first, too: before anything can be said of breaks, the"
        " recipe must give the same twice. Look for a component that draws random numbers without context.seed, asks"
        " the clock, or depends on an order that is not fixed."
    )
    return f"{count}: {failed}. {why}{kept}"


def _as_data(recipe: Path, shortened: Sequence[str], check: ResumeCheck, seconds: float) -> dict[str, Any]:
    return {
        "recipe": str(recipe),
        "shortened": list(shortened),
        "holds": check.holds,
        "repeatable": check.repeatable,
        "files": check.files,
        "sha256": check.sha256,
        "folder": None if check.folder is None else str(check.folder),
        "seconds": round(seconds, 1),
        "breaks": [asdict(finding) | {"holds": finding.holds} for finding in check.findings],
    }
