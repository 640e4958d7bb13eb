"""`--set a.b=value`: changes to a recipe that are made, and recorded, beside it.

Values given as text follow the rules of the recipe file; values given from Python are taken as they are.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from copgkit.errors import RecipeError
from copgkit.recipe.reading import Document, KeyPath, describe, dotted, parse

Overrides = Sequence[str] | Mapping[str, Any]


def apply_overrides(document: Document, given: Overrides) -> None:
    """Changes the document's data. A new key in a mapping is set, and checked later like every other key; raises
    RecipeError for a path through something that is no mapping, or to an entry that a list does not have."""
    items = given.items() if isinstance(given, Mapping) else map(_split, [given] if isinstance(given, str) else given)
    for name, value in items:
        path = parse_path(name)
        _assign(document.data, path, value)
        document.overridden.append(path)


def parse_path(name: str) -> KeyPath:
    """`rewards[0].weight` or `rewards.0.weight` as ("rewards", 0, "weight")."""
    parts = re.sub(r"\[(\d+)\]", r".\1", name.strip()).split(".")
    if not all(re.fullmatch(r"[^\s\[\]]+", part) for part in parts):
        raise RecipeError(f"--set {name}: this is not a path. Write section.key or rewards[0].weight.")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _split(assignment: str) -> tuple[str, Any]:
    name, equals, value = assignment.partition("=")
    if not equals:
        raise RecipeError(f"--set {assignment}: there is no value. Write --set section.key=value.")
    return name, parse(value, f"--set {name}").data


def _assign(data: Any, path: KeyPath, value: Any) -> None:
    for depth, part in enumerate(path[:-1]):
        _require(data, path, depth)
        if isinstance(data, dict) and data.get(str(part)) is None:
            data[str(part)] = {}  # a section that the recipe leaves out
        data = data[part if isinstance(data, list) else str(part)]
    _require(data, path, len(path) - 1)
    data[path[-1] if isinstance(data, list) else str(path[-1])] = copy.deepcopy(value)


def _require(data: Any, path: KeyPath, depth: int) -> None:
    """Refuses to step from `data` to path[depth] if there is no such step."""
    part, place = path[depth], f"--set {dotted(path)}"
    here = f"'{dotted(path[:depth])}'" if depth else "the recipe"
    if isinstance(data, dict):
        return
    if not isinstance(data, list):
        raise RecipeError(f"{place}: {here} is {describe(data)}, which has no '{part}'.")
    if not isinstance(part, int):
        raise RecipeError(f"{place}: {here} is a list. Give a position, from 0: {dotted(path[:depth])}[0].")
    if part >= len(data):
        raise RecipeError(f"{place}: {here} has {len(data)} entries, counted from 0. Use a position below {len(data)}.")
