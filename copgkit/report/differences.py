"""Why runs differ: everything that their records say of them and that is not the same in all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copgkit.report.finished import FinishedRun

ABSENT = "-"
_WHERE_ONLY = ("output", "scoring.store")
"""Keys that say where something is kept, and nothing of what is computed."""


@dataclass(frozen=True)
class Difference:
    """One thing that differs. kind: recipe, data, code, versions or machine. values: one for each run, as text."""

    kind: str
    what: str
    values: tuple[str, ...]


def differences(runs: Sequence[FinishedRun]) -> list[Difference]:
    """What differs, the recipe first; nothing where the same ran on the same."""
    return [*_recipe(runs), *_content(runs), *_versions(runs), *_machine(runs)]


def _recipe(runs: Sequence[FinishedRun]) -> Iterator[Difference]:
    for key in _keys([run.values for run in runs]):
        if key not in _WHERE_ONLY:
            yield from _differs("recipe", key, [run.values.get(key, ABSENT) for run in runs])


def _content(runs: Sequence[FinishedRun]) -> Iterator[Difference]:
    """Data, models and code by content, whatever their files are called."""
    for section, kind in (("hashes", "data"), ("code", "code"), ("models", "data")):
        by_key = [
            {str(name).partition(": ")[0]: value for name, value in run.record.get(section, {}).items()} for run in runs
        ]
        for key in _keys(by_key):
            if key == "recipe":  # its text; its values are compared one by one
                continue
            values = [one.get(key, ABSENT) for one in by_key]
            yield from _differs("code" if key.startswith("plugins[") else kind, key, [_short(one) for one in values])


def _versions(runs: Sequence[FinishedRun]) -> Iterator[Difference]:
    for section in ("versions", "plugins", "components"):
        sections = [run.record.get(section, {}) for run in runs]
        for key in _keys(sections):
            yield from _differs("versions", key, [one.get(key, ABSENT) for one in sections])


def _machine(runs: Sequence[FinishedRun]) -> Iterator[Difference]:
    sections = [run.record.get("machine", {}) for run in runs]
    for key in _keys(sections):
        yield from _differs("machine", key, [one.get(key, ABSENT) for one in sections])
    for key in ("device", "processes"):
        yield from _differs("machine", key, [run.record.get(key, ABSENT) for run in runs])


def _differs(kind: str, what: str, values: Sequence[Any]) -> Iterator[Difference]:
    texts = tuple(map(str, values))
    if len(set(texts)) > 1:
        yield Difference(kind, what, texts)


def _keys(sections: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all, in the order in which they are first met."""
    return list(dict.fromkeys(key for section in sections for key in section))


def _short(value: object) -> str:
    """The beginning of a hash, which tells two apart."""
    text = str(value)
    return text[:12] if len(text) == 64 else text
