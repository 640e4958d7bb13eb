"""copgkit compare RUN RUN ...: why runs differ, and where they stand beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from copgkit.cli.arguments import AsJson, output_to
from copgkit.cli.comparing import differing, results
from copgkit.cli.terminal import bold, print_json

if TYPE_CHECKING:
    from copgkit.report import Comparison


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN ...", help="Folders of finished runs.", show_default=False)
    ],
    output: Annotated[Path | None, output_to("FILE", "Write a page with pictures and samples, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare finished runs: what differs between them, what they measured, and whether that differs clearly."""
    from copgkit.report import Comparison, comparison_data, require_several, write_comparison

    comparison = Comparison(require_several(runs))
    if output is not None:
        write_comparison(output, " and ".join(run.label for run in comparison.runs), comparison)
    if as_json:
        print_json(comparison_data(comparison))
        return
    for line in _lines(comparison):
        print(line)
    if output is not None:
        print(f"\n{output}")


def _lines(comparison: Comparison) -> list[str]:
    return [
        *results(comparison),
        "",
        bold("What differs"),
        *(
            differing(comparison)
            or ["nothing that a run records: recipe, data, code, versions and machine are the same"]
        ),
    ]
