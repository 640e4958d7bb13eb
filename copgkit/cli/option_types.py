"""The type of an option in words, from its JSON schema: "whole number, more than 0"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "object": "mapping",
    "array": "list",
}
LIMITS = {
    "exclusiveMinimum": "more than",
    "minimum": "at least",
    "exclusiveMaximum": "less than",
    "maximum": "at most",
}


def type_in_words(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What a recipe may write for this field; `schema` holds the definitions that it refers to."""
    if "$ref" in field:
        return type_in_words(schema["$defs"][field["$ref"].rpartition("/")[2]], schema)
    if "component" in field:
        return f"{field['component']} {{{', '.join(field['properties'])}}}"
    if "enum" in field or "const" in field:
        return " | ".join(str(choice) for choice in field.get("enum", [field.get("const")]))
    branches = field.get("anyOf") or field.get("oneOf")
    if branches:
        return " or ".join(dict.fromkeys(type_in_words(branch, schema) for branch in branches))
    kind = str(field.get("type", "anything"))
    if kind == "array" and isinstance(field.get("items"), dict) and field["items"]:
        return f"list of {type_in_words(field['items'], schema)}"
    limits = [f"{words} {field[key]:g}" for key, words in LIMITS.items() if key in field]
    return ", ".join([NAMES.get(kind, kind), *limits])
