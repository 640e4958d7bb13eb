"""What is wrong with a recipe, for people: pydantic's errors become `recipe.yaml:27: rewards[0].use: fault. remedy.`

Validation is strict in pydantic's JSON sense: a number in quotes is text, a list becomes a tuple, nothing else is
converted. Faults are collected, so that one look at a recipe finds all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from copgkit.errors import CopgkitError, RecipeError
from copgkit.recipe.reading import Document, KeyPath, describe, dotted, scalar

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Fault:
    """One fault: where, what, and what to do about it."""

    path: KeyPath
    words: str
    of_key: bool = False


class Faults:
    """The faults found so far in one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.found: list[Fault] = []
        self.notes: list[str] = []

    def add(self, path: KeyPath, words: str, of_key: bool = False) -> None:
        """Notes a fault of the value at path, or of its key."""
        self.found.append(Fault(path, words, of_key))

    def note(self, words: str) -> None:
        """Something that explains several faults; said once, after them."""
        if words and words not in self.notes:
            self.notes.append(words)

    def stop_if_any(self) -> None:
        """Raises one RecipeError with all faults, one a line, in the order of the file."""
        if not self.found:
            return
        ordered = sorted(self.found, key=lambda fault: self.document.line(fault.path, fault.of_key))
        lines = [self._line(fault) for fault in ordered]
        raise RecipeError("\n".join([*dict.fromkeys(lines), *self.notes]))

    def _line(self, fault: Fault) -> str:
        place = self.document.place(fault.path, fault.of_key)
        return f"{place}: {dotted(fault.path)}: {fault.words}" if fault.path else f"{place}: {fault.words}"

    def validate(self, model: type[M], data: Any, at: KeyPath = (), owner: str = "") -> M | None:
        """`data` as a `model`, or None with the faults noted. at: where the data stands in the document. owner: the
        component whose options these are."""
        try:
            text = json.dumps(data, allow_nan=False)
        except (TypeError, ValueError) as fault:
            self.add(at, f"it is not plain data ({fault}). Use text, finite numbers, true, false, lists and mappings.")
            return None
        try:
            return model.model_validate_json(text, strict=True, by_alias=True, by_name=False)
        except ValidationError as refusal:
            for path, errors in _by_path(data, refusal).items():
                words = _Explanation(model, data, path, errors, owner).words()
                self.add((*at, *path), words, of_key=errors[0]["type"] == "extra_forbidden")
        except Exception as fault:
            if not owner:
                raise
            kind = "" if isinstance(fault, CopgkitError) else f"{type(fault).__name__}: "
            self.add(at, f"{owner} cannot take these options: {kind}{fault}")
        return None


def suggestion(name: str, known: Sequence[str]) -> str:
    """The known name nearest to this one; empty if none is near."""
    plain = {item.replace("-", "_").lower(): item for item in known}
    near = get_close_matches(name.replace("-", "_").lower(), plain, n=1)
    return plain[near[0]] if near else ""


def _by_path(data: Any, refusal: ValidationError) -> dict[KeyPath, list[Any]]:
    """Pydantic's errors by the place in the data: the branches of a union speak of the same place."""
    errors: dict[KeyPath, list[Any]] = {}
    for error in refusal.errors(include_url=False):
        errors.setdefault(_written(data, error["loc"], error["type"] == "missing"), []).append(error)
    return errors


def _written(data: Any, location: Sequence[str | int], missing: bool) -> KeyPath:
    """A location as it is written in the recipe, without pydantic's names for the branches of unions."""
    path: list[str | int] = []
    for part in location:
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if inside:
            path.append(part)
            data = data[part]
    return (*path, location[-1]) if missing and location else tuple(path)


def models_at(model: type[BaseModel], path: KeyPath, tags: Sequence[str | int] = ()) -> list[type[BaseModel]]:
    """The models that may stand at a path below `model`; where a tag decides between several, those it names."""
    found = [model]
    for part in path:
        if isinstance(part, str):
            fields = [field for owner in found for name, field in fields_of(owner).items() if name == part]
            found = [inner for field in fields for inner in _models_in(field.annotation)]
    named = [inner for inner in found if set(tags) & set(get_args(_annotation(inner, "use")))]
    return named or found


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model under the names that a recipe writes."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _annotation(model: type[BaseModel], name: str) -> Any:
    field = model.model_fields.get(name)
    return field.annotation if field else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


@dataclass(frozen=True)
class _Explanation:
    """The errors of one place in words."""

    model: type[BaseModel]
    data: Any
    path: KeyPath
    errors: Sequence[Mapping[str, Any]]
    owner: str

    def words(self) -> str:
        error = self.errors[0]
        expected = [_EXPECTED[e["type"]] for e in self.errors if e["type"] in _EXPECTED]
        if expected and len(expected) == len(self.errors):
            return self._wrong_type(list(dict.fromkeys(expected)), error["input"])
        match error["type"]:
            case "extra_forbidden":
                return self._unknown_key()
            case "missing":
                return self._missing()
            case "literal_error" | "enum" | "union_tag_invalid":
                return self._not_a_choice(error)
            case "value_error" | "assertion_error":
                return _sentence(str(error["ctx"]["error"]))
            case kind if kind in _RANGES:
                words, key = _RANGES[kind]
                return f"it must be {words} {error['ctx'][key]}, found {describe(error['input'])}."
            case _:
                return f"{_sentence(str(error['msg']))[:-1]}, found {describe(error['input'])}."

    def _unknown_key(self) -> str:
        key, section = str(self.path[-1]), self.path[:-1]
        tags = [part for part in self.errors[0]["loc"] if isinstance(part, str)]
        known = [name for owner in models_at(self.model, section, tags) for name in fields_of(owner)]
        what = f"unknown option of {self.owner}" if self.owner else f"unknown key of {_section_name(section)}"
        near = suggestion(key, known)
        if near:
            return f"{what}. Did you mean '{near}'?"
        if not self.owner:
            elsewhere = _section_with(self.model, key, besides=section)
            if elsewhere:
                return f"{what}. It belongs to '{elsewhere}'."
            if "options" in known:
                return f"{what}. If it is an option of the component, put it under 'options'."
        return f"{what}. Known: {', '.join(known) or 'none, it has no options'}."

    def _missing(self) -> str:
        tags = [part for part in self.errors[0]["loc"] if isinstance(part, str)]
        owners = models_at(self.model, self.path[:-1], tags)
        fields = [fields_of(owner).get(str(self.path[-1])) for owner in owners]
        help_text = next((field.description for field in fields if field and field.description), None)
        needs = f"{self.owner} needs it" if self.owner else "it is missing"
        return f"{needs}. {_sentence(help_text)}" if help_text else f"{needs}. Add it."

    def _not_a_choice(self, error: Mapping[str, Any]) -> str:
        context = error["ctx"]
        listed = str(context.get("expected") or context.get("expected_tags")).replace(" or ", ", ")
        choices = [choice.strip(" '") for choice in listed.split(",")]
        value = context.get("tag", error["input"])
        near = suggestion(str(value), choices)
        hint = f"Did you mean '{near}'?" if near else ""
        return f"expected {_alternatives(choices)}, found {describe(value)}. {hint}".rstrip()

    def _wrong_type(self, expected: Sequence[str], value: Any) -> str:
        return f"expected {_alternatives(expected)}, found {describe(value)}. {_remedy(expected, value)}".rstrip()


def _remedy(expected: Sequence[str], value: Any) -> str:
    """How to write what was probably meant; empty where there is nothing to guess."""
    if value is None:
        return "Give it a value, or remove the line."
    if isinstance(value, str):
        if "true or false" in expected and value.lower() in _BOOLEANS:
            return f"Write {_BOOLEANS[value.lower()]}."
        if expected[0] in ("a number", "a whole number"):
            plain = value.replace("_", "").lstrip("0") or "0"
            return f"Write {plain}, without quotes." if isinstance(scalar(plain), int | float) else ""
    elif "text" in expected and not isinstance(value, list | dict):
        return "Put it in quotes."
    if "a list" in expected and not isinstance(value, list | dict):
        return f"Write [{value}]."
    return ""


def _section_with(model: type[BaseModel], key: str, besides: KeyPath) -> str:
    """Another section of the recipe that knows this key; empty if none does."""
    for section, field in fields_of(model).items():
        for owner in _models_in(field.annotation):
            if besides != (section,) and key in fields_of(owner) and "options" not in fields_of(owner):
                return section
    return ""


def _section_name(section: KeyPath) -> str:
    return f"'{dotted(section)}'" if section else "the recipe"


def _alternatives(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _sentence(words: str) -> str:
    """`words` as one sentence that goes on after a colon."""
    plain = " ".join(words.split()).rstrip(".")
    lower = plain[:1].lower() + plain[1:] if plain[1:2].islower() else plain
    return f"{lower}."


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "mapping_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "none_required": "nothing",
}
_RANGES = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_BOOLEANS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
