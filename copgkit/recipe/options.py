"""Options of one component outside a recipe: `key=value`, by the rules of the recipe file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from copgkit.errors import RecipeError
from copgkit.plugin_door import Registered
from copgkit.recipe.faults import Faults
from copgkit.recipe.reading import parse

NAME = "--options"


def options_from_text(item: Registered[Any], given: Sequence[str]) -> dict[str, Any]:
    """The options as plain data. Raises RecipeError where the component would refuse them in a recipe."""
    pairs = [one.partition("=") for one in given]
    for key, equals, _ in pairs:
        if not equals:
            raise RecipeError(f"{NAME} {key}: there is no value. Write {NAME} key=value.")
    document = parse("\n".join(f"{key}: {value}" for key, _, value in pairs), NAME)
    options: dict[str, Any] = document.data or {}
    faults = Faults(document)
    faults.validate(item.cls.Options, options, owner=f"'{item.name}' ({item.owner})")
    faults.stop_if_any()
    return options
