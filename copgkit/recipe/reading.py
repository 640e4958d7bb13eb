"""Strict YAML: what is written is what is meant, and every key and value knows its line.

Read as YAML 1.2's core, made stricter where a person would be surprised: `1e-6` is a number; only `true` and `false`
are booleans, so `no` and `on` are text; `12:30`, `2024-01-01`, `007` and `0x1F` are text; every key is text and may be
given once; tags and aliases that blow up are refused. PyYAML does the parsing, this file the meaning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from copgkit.errors import RecipeError
from copgkit.recipe.yaml_faults import LARGEST_DOCUMENT, explain

KeyPath = tuple[str | int, ...]
LARGEST_FILE = 1 << 20

BOOLEAN = re.compile(r"(?:true|false)\Z")
NULL = re.compile(r"(?:null|~|)\Z")
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")


@dataclass
class Document:
    """YAML as plain data, with the line (from 1) of every key and of every value."""

    data: Any
    name: str
    text: str
    key_lines: dict[KeyPath, int] = field(default_factory=dict)
    value_lines: dict[KeyPath, int] = field(default_factory=dict)
    overridden: list[KeyPath] = field(default_factory=list)

    def is_overridden(self, path: KeyPath) -> bool:
        """Whether --set gave this value, one that it is part of, or one for which it had to be made."""
        made = bool(path) and path not in self.key_lines
        return any(path[: len(given)] == given or (made and given[: len(path)] == path) for given in self.overridden)

    def is_given(self, path: KeyPath) -> bool:
        """Whether the file or --set gave this value, rather than a default."""
        return path in self.key_lines or self.is_overridden(path)

    def place(self, path: KeyPath, of_key: bool = False) -> str:
        """Where a value was given, as messages and `check` say it: "recipe.yaml:12" or "--set"."""
        return "--set" if self.is_overridden(path) else f"{self.name}:{self.line(path, of_key)}"

    def line(self, path: KeyPath, of_key: bool = False) -> int:
        """The line of a value, or of the nearest enclosing one that was written down. Collections count from their
        key."""
        while path and path not in self.key_lines:
            path = path[:-1]
        lines = self.key_lines if of_key else self.value_lines
        return lines.get(path, 1)


def dotted(path: KeyPath) -> str:
    """A path as messages and --set write it: rewards[0].options.model."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(path: Path, name: str) -> Document:
    """Reads a recipe; `name` is what messages call it. Raises RecipeError with file and line for anything that is not
    one YAML mapping in UTF-8 of at most 1 MiB."""
    document = parse(_read_text(path, name), name)
    if document.data is None:
        raise RecipeError(f"{name}: it is empty. A recipe needs policy, prompts, sampler and rewards.")
    if not isinstance(document.data, dict):
        raise RecipeError(f"{name}:1: the top level is {describe(document.data)}. Write `key: value` lines.")
    return document


def parse(text: str, name: str) -> Document:
    """Parses one YAML document. Raises RecipeError with `name` and line."""
    document = Document(None, name, text)
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        if root is not None:
            document.value_lines[()] = root.start_mark.line + 1
            document.data = _Builder(document).build(root, ())
    except yaml.YAMLError as fault:
        raise RecipeError(explain(fault, text, name)) from fault
    except RecursionError as fault:
        raise RecipeError(f"{name}: it is nested too deeply. A recipe has a handful of levels.") from fault
    return document


def scalar(text: str) -> Any:
    """The meaning of a plain (unquoted) value."""
    if NULL.match(text):
        return None
    if BOOLEAN.match(text):
        return text == "true"
    if INTEGER.match(text) and len(text) < 4000:  # Python refuses to convert longer ones
        return int(text)
    if FLOAT.match(text):
        return float(text)
    return text


def describe(value: Any) -> str:
    """What a value is, for messages that say what was found."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text '{value}'" if len(value) <= 60 else f"the text '{value[:57]}...'"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a mapping"
    return repr(value)


class _Loader(yaml.SafeLoader):
    """PyYAML's loader as far as nodes; refuses tags and endless documents before they cost anything."""

    composed = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.composed += 1
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.composed > LARGEST_DOCUMENT:
            raise yaml.MarkedYAMLError(problem="too many values", problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem=f"the tag {event.tag}", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Builder:
    """Turns PyYAML's nodes into plain data and notes their lines."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.size = 0
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.size += 1
        if any(node is outer for outer in self.open):
            raise self.error(node, path, "an alias that contains itself. Write the value out")
        if self.size > LARGEST_DOCUMENT:
            raise self.error(node, (), f"more than {LARGEST_DOCUMENT} values, aliases written out. Use fewer")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        self.open.append(node)
        value = self.mapping(node, path) if isinstance(node, yaml.MappingNode) else self.sequence(node, path)
        self.open.pop()
        return value

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        value = scalar(node.value) if node.style is None else node.value
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(node, path, f"{node.value} is larger than any number a computer works with. Write less")
        return value

    def sequence(self, node: yaml.Node, path: KeyPath) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            inside = (*path, index)
            self.document.key_lines[inside] = self.document.value_lines[inside] = item.start_mark.line + 1
            items.append(self.build(item, inside))
        return items

    def mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        items: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            key = self.key(key_node, path)
            inside = (*path, key)
            if key in items or (key == "<<" and merged):
                first = self.document.key_lines.get(inside, node.start_mark.line + 1)
                raise self.error(key_node, inside, f"the key is given twice, first on line {first}. Remove one")
            if key == "<<" and key_node.style is None:
                merged = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            else:
                items[key] = self.item(key_node, value_node, inside)
        for source in merged:
            self.merge(source, path, items)
        return items

    def item(self, key_node: yaml.Node, value_node: yaml.Node, path: KeyPath) -> Any:
        line = key_node.start_mark.line + 1
        self.document.key_lines[path] = line
        is_scalar = isinstance(value_node, yaml.ScalarNode)
        self.document.value_lines[path] = value_node.start_mark.line + 1 if is_scalar else line
        return self.build(value_node, path)

    def merge(self, source: yaml.Node, path: KeyPath, items: dict[str, Any]) -> None:
        """Adds what `<<: *name` brings; keys that are already there win."""
        if not isinstance(source, yaml.MappingNode):
            raise self.error(source, path, "<< takes a mapping. Write <<: *name, where &name marks a mapping above")
        for key_node, value_node in source.value:
            key = self.key(key_node, path)
            if key == "<<":
                raise self.error(key_node, path, "a merge within a merge. Write the keys out")
            if key not in items:
                items[key] = self.item(key_node, value_node, (*path, key))

    def key(self, node: yaml.Node, path: KeyPath) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, path, "a key that is itself a list or mapping. Keys are plain words")
        return str(node.value)

    def error(self, node: yaml.Node, path: KeyPath, fault: str) -> RecipeError:
        place = f"{self.document.name}:{node.start_mark.line + 1}"
        return RecipeError(f"{place}: {dotted(path)}: {fault}." if path else f"{place}: {fault}.")


def _read_text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise RecipeError(
                f"{name}: it is larger than 1 MiB. A recipe is a page; data belongs into files of its own."
            )
        raw = path.read_bytes()
    except FileNotFoundError as fault:
        raise RecipeError(f"{name}: there is no such file. {_nearby(path)}") from fault
    except OSError as fault:
        raise RecipeError(f"{name}: it cannot be read ({fault.strerror}). Name a YAML file.") from fault
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise RecipeError(
            f"{name}:{line}: it is not UTF-8 (byte 0x{raw[fault.start]:02x}). Save it as UTF-8."
        ) from fault


def _nearby(path: Path) -> str:
    from difflib import get_close_matches

    beside = sorted(file.name for file in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    if near:
        return f"Did you mean '{path.parent / near[0]}'?"
    return f"In that folder: {', '.join(beside[:8])}." if beside else "Give the path of a recipe."


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value with its path, in order; a list without lists or mappings inside counts as one value."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        inside = enumerate(value)
    if not inside:
        yield path, value
    for key, item in inside:
        yield from leaves(item, (*path, key))
