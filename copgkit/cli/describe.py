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
    from copgkit.registry import Registered

WHERE = {
    "prompt source": "prompts: {%s}",
    "sampler": "sampler: {%s}",
    "reward source": "rewards: [{%s}]",
    "evaluator": "evaluate: {with: [{%s}]}",
}


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A component's name, or kind/name.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Describe a component: what it does, and its options."""
    from copgkit.registry import Registry

    registry = Registry.load()
    found = registry.find(name)
    if not found:
        from copgkit.errors import PluginError

        raise PluginError(registry.unknown_anywhere(name))
    if as_json:
        print_json([_as_data(item) for item in found])
        return
    for index, item in enumerate(found):
        for line in [*([""] if index else []), *_page(item)]:
            print(line)


def _page(item: Registered[Any]) -> list[str]:
    schema = item.cls.Options.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    rows = [
        (name, type_in_words(field, schema), _default(name, field, required), str(field.get("description", "")))
        for name, field in schema.get("properties", {}).items()
    ]
    lines = [bold(f"{item.name}") + f"  {item.kind}, {item.owner} (plugin {item.plugin})"]
    if item.cls.__doc__:
        lines += ["", *inspect.cleandoc(item.cls.__doc__).splitlines()]
    lines += ["", bold("Options"), *(columns(rows, indent="  ") or ["  none"])]
    return [*lines, "", bold("In a recipe"), "  " + _example(item, required)]


def _default(name: str, field: dict[str, Any], required: Sequence[str]) -> str:
    if name in required:
        return "required"
    return f"default {as_yaml(field['default'])}" if "default" in field else "optional"


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
