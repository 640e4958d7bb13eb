"""copgkit sample RECIPE: the groups of a recipe's sampler, into a file."""

from __future__ import annotations

from copgkit.cli.arguments import Changes, GroupsOutput, Quiet, RecipeFile


def sample(recipe: RecipeFile, output: GroupsOutput, changes: Changes = None, quiet: Quiet = False) -> None:
    """Write the groups of a recipe's sampler to a file, without scores; score adds those.

    The policy is the recipe's, before any training. Another program may write the same file: see docs/scored-groups.md.
    """
    from copgkit.recipe import load_recipe

    load_recipe(recipe, changes or ())  # a faulty recipe is refused before torch is imported
    from copgkit.preparing import sample_groups
    from copgkit.report.terminal import make_progress

    print(sample_groups(recipe, output, changes or [], make_progress(quiet=quiet)))
