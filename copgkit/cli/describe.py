"""copgkit describe NAME: a component's options with types, defaults and help."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copgkit.cli.arguments import AsJson
from copgkit.cli.option_types import type_in_words
from copgkit.cli.terminal import as_yaml, bold, columns, print_json

if TYPE_CHECKING:
    from pydantic import BaseModel

    from copgkit.plugin_door import Registered

WHERE = {
    "prompt source": "prompts: {%s}",
    "sampler": "sampler: {%s}",
    "reward source": "rewards: [{%s}]",
    "evaluator": "evaluate: {with: [{%s}]}",
}


def describe(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A component (name or kind/name), or a section of the recipe.", show_default=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Describe a component, or a section of the recipe: what it does, and its options."""
    from copgkit.recipe.schema import SECTIONS
    from copgkit.registry import Registry

    registry = Registry.load()
    found = registry.find(name)
    section = SECTIONS.get(name)
    if not found and section is None:
        from copgkit.errors import PluginError

        raise PluginError(registry.unknown_anywhere(name, besides=SECTIONS))
    if as_json:
        sections = [] if section is None else [{"name": name, "options": section.model_json_schema(by_alias=True)}]
        print_json([*map(_as_data, found), *sections])
        return
    pages = [_page(item) for item in found]
    if section is not None:
        pages.append([f"{bold(name)}  section of the recipe", "", *_docstring(section), "", *_options(section)])
    print("\n\n".join("\n".join(page) for page in pages))


def _page(item: Registered[Any]) -> list[str]:
    head = bold(item.name) + f"  {item.kind}, {item.owner} (plugin {item.plugin})"
    text = _docstring(item.cls)
    example = "  " + _example(item, item.cls.Options.model_json_schema().get("required", []))
    return [head, "", *text, *([""] if text else []), *_options(item.cls.Options), "", bold("In a recipe"), example]


def _docstring(documented: type) -> list[str]:
    return inspect.cleandoc(documented.__doc__ or "").splitlines()


def _options(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    rows = [
        (name, type_in_words(field, schema), _default(name, field, required), str(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    ]
    return [bold("Options"), *(columns(rows, indent="  ") or ["  none"])]


def _default(name: str, field: dict[str, Any], required: Sequence[str]) -> str:
    if name in required:
        return "required"
    if "default" not in field or isinstance(field["default"], dict):
        return "optional"
    return f"default {as_yaml(field['default'])}"


def _example(item: Registered[Any], required: Sequence[str]) -> str:
    options = ", ".join(f"{name}: ..." for name in required)
    return WHERE[item.kind] % (f"use: {item.name}" + (f", options: {{{options}}}" if options else ""))


def _as_data(item: Registered[Any]) -> dict[str, Any]:
    return {
        "name": item.name,
        "kind": item.kind,
        "plugin": item.plugin,
        "distribution": item.distribution,
        "version": item.version,
        "help": inspect.cleandoc(item.cls.__doc__ or ""),
        "options": item.cls.Options.model_json_schema(by_alias=True),
    }
