"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value, as in objective.beta=0.1. May be repeated."),
]


def output_to(metavar: str, help: str) -> Any:
    """The option --output of a command that has a place for what it makes, or needs none."""
    return typer.Option("--output", "-o", metavar=metavar, help=help, show_default=False)


GroupsOutput = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write: .jsonl or .parquet.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and the result's path only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
