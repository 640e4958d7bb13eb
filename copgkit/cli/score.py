"""copgkit score GROUPS --with RECIPE: what the recipe's reward sources say of the groups of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from copgkit.cli.arguments import Changes, GroupsOutput, Quiet


def score(
    groups: Annotated[
        Path,
        typer.Argument(metavar="GROUPS", help="Groups or preference pairs: .jsonl or .parquet.", show_default=False),
    ],
    recipe: Annotated[Path, typer.Option("--with", metavar="RECIPE", help="The recipe whose rewards score them.")],
    output: GroupsOutput,
    changes: Changes = None,
    quiet: Quiet = False,
) -> None:
    """Add the scores of a recipe's reward sources to a file of groups, or refresh them.

    Scores of other names are kept. The recipe's prompts, sampler and policy play no part.
    """
    from copgkit.recipe import load_recipe

    load_recipe(recipe, changes or ())  # a faulty recipe is refused before anything heavy is imported
    from copgkit.preparing import score_groups
    from copgkit.report.terminal import make_progress

    print(score_groups(groups, recipe, output, changes or [], make_progress(quiet=quiet)))
