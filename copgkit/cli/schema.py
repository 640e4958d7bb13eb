"""copgkit schema: the recipe's JSON schema, for editors."""

from __future__ import annotations

from copgkit.cli.terminal import print_json


def schema() -> None:
    """Print the JSON schema of recipes, with the options of all installed components.

    Editors with a YAML language server take it from a first line in the recipe:
    # yaml-language-server: $schema=recipe.schema.json
    """
    from copgkit.recipe import json_schema

    print_json(json_schema())
