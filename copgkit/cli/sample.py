"""copgkit sample RECIPE: the groups of a recipe's sampler, into a file."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from copgkit.cli.arguments import Changes, GroupsOutput, Quiet, RecipeFile

WrittenBy = Annotated[
    Literal["copgkit", "vllm"],
    typer.Option(
        help="What writes the completions. vllm needs the extra of that name and a GPU; it was tested with a stand-in"
        " for vLLM only."
    ),
]


def sample(
    recipe: RecipeFile,
    output: GroupsOutput,
    changes: Changes = None,
    generator: WrittenBy = "copgkit",
    quiet: Quiet = False,
) -> None:
    """Write the groups of a recipe's sampler to a file, without scores; score adds those.

    The policy is the recipe's, before any training. Another program may write the same file: see docs/scored-groups.md.
    """
    from copgkit.recipe import load_recipe

    load_recipe(recipe, changes or ())  # a faulty recipe is refused before torch is imported
    from copgkit.preparing import sample_groups
    from copgkit.report.terminal import make_progress

    print(sample_groups(recipe, output, changes or [], make_progress(quiet=quiet), generator))
