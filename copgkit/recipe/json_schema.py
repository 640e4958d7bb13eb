"""The recipe's JSON schema, for editors: the sections, and the options of every installed component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from copgkit.plugin_door import Registered
from copgkit.recipe.schema import Recipe
from copgkit.registry import KINDS, Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROLES: Sequence[tuple[str, str, str, str]] = (
    ("Recipe", "prompts", "Use", "prompt source"),
    ("Recipe", "sampler", "Use", "sampler"),
    ("Recipe", "rewards", "RewardUse", "reward source"),
    ("EvaluateSettings", "prompts", "Use", "prompt source"),
    ("EvaluateSettings", "with", "Use", "evaluator"),
)
"""Where components are used: section, key, the schema's definition there, and the kind that it takes."""


def json_schema(registry: Registry | None = None) -> dict[str, Any]:
    """A JSON schema that completes and checks recipes in an editor. `use` decides which options there are."""
    registry = registry or Registry.load()
    schema: dict[str, Any] = Recipe.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    for kind in KINDS:
        definition = "RewardUse" if kind == "reward source" else "Use"
        items = [item for item in registry if item.kind == kind]
        definitions[_slug(kind)] = _with_components(definitions[definition], items, definitions)
    for section, key, definition, kind in ROLES:
        properties = (schema if section == "Recipe" else definitions[section])["properties"]
        properties[key] = _pointing_at(properties[key], definition, _slug(kind))
    _complete_inner_uses(definitions)
    definitions.pop("Use", None)
    definitions.pop("RewardUse", None)
    return {"$schema": DIALECT, **schema}


def _with_components(
    use: dict[str, Any], items: Sequence[Registered[Any]], definitions: dict[str, Any]
) -> dict[str, Any]:
    """The definition of a `use` section for one kind: its names, and the options of each."""
    properties = dict(use["properties"])
    # Unknown names stay possible: a one-file plugin may bring them.
    properties["use"] = {**properties["use"], "anyOf": [{"enum": [item.name for item in items]}, {"type": "string"}]}
    rules = []
    for item in items:
        options = _options_schema(item, definitions)
        then: dict[str, Any] = {"properties": {"options": options}}
        if options.get("required"):
            then["required"] = ["options"]
        rules.append({"if": {"properties": {"use": {"const": item.name}}, "required": ["use"]}, "then": then})
    return {**use, "properties": properties, **({"allOf": rules} if rules else {})}


def _complete_inner_uses(definitions: dict[str, Any]) -> None:
    """Gives the components that stand in the options of others the names and options of their kind too."""
    for name, definition in list(definitions.items()):
        kind = definition.pop("component", None)
        if not kind:
            continue
        known = definitions[_slug(kind)]
        if definition["properties"].keys() == known["properties"].keys():
            definitions[name] = {"$ref": f"#/$defs/{_slug(kind)}"}
        else:
            use = {**definition["properties"]["use"], "anyOf": known["properties"]["use"]["anyOf"]}
            properties = {**definition["properties"], "use": use}
            definitions[name] = {**definition, "properties": properties, "allOf": known.get("allOf", [])}


def _options_schema(item: Registered[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a component's options; its own definitions move up beside the recipe's, under names of their
    own."""
    prefix = f"{_slug(item.kind)}.{item.name}."
    schema: dict[str, Any] = item.cls.Options.model_json_schema(
        by_alias=True, ref_template=f"#/$defs/{prefix}{{model}}"
    )
    for name, definition in schema.pop("$defs", {}).items():
        definitions[prefix + name] = definition
    schema["title"] = f"Options of {item.name} ({item.owner})"
    return schema


def _pointing_at(value: Any, old: str, new: str) -> Any:
    """`value` with references to one definition replaced by references to another."""
    if isinstance(value, dict):
        return {key: _pointing_at(inside, old, new) for key, inside in value.items()}
    if isinstance(value, list):
        return [_pointing_at(inside, old, new) for inside in value]
    return f"#/$defs/{new}" if value == f"#/$defs/{old}" else value


def _slug(kind: str) -> str:
    return kind.replace(" ", "-")
