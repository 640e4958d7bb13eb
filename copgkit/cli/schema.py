"""copgkit schema: the recipe's JSON schema, for editors; and that of scored groups, for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from copgkit.cli.terminal import print_json


def schema(
    groups: Annotated[bool, typer.Option("--groups", help="Print that of a row of scored groups instead.")] = False,
) -> None:
    """Print the JSON schema of recipes, with the options of all installed components.

    Editors with a YAML language server take it from a first line in the recipe:
    # yaml-language-server: $schema=recipe.schema.json
    """
    from copgkit.recipe import json_schema
    from copgkit.store import group_schema

    print_json(group_schema() if groups else json_schema())
