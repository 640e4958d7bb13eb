"""PyYAML's complaints in the words of a person who wants to mend a recipe."""

from __future__ import annotations

import yaml

LARGEST_DOCUMENT = 20_000  # values after aliases are written out


def explain(fault: yaml.YAMLError, text: str, name: str) -> str:
    """A YAML error as place, fault and remedy."""
    if isinstance(fault, yaml.reader.ReaderError):
        line = text.count("\n", 0, fault.position) + 1
        return f"{name}:{line}: it contains the control character 0x{ord(text[fault.position]):02x}. Remove it."
    mark = getattr(fault, "problem_mark", None)
    problem = getattr(fault, "problem", None) or str(fault)
    line = mark.line + 1 if mark else 1
    words, remedy = _remedy(problem, text, line)
    return f"{name}:{line}: {words}. {remedy}"


def _remedy(problem: str, text: str, line: int) -> tuple[str, str]:
    lines = text.splitlines()
    here = lines[line - 1] if 0 < line <= len(lines) else ""
    for sign, words, remedy in _REMEDIES:
        if sign in problem:
            return words or problem, remedy
    if "\t" in here[: len(here) - len(here.lstrip())]:
        return _REMEDIES[0][1], _REMEDIES[0][2]
    return f"this is not YAML: {problem}", "Look at the indentation, colons and brackets here and just above."


_REMEDIES = (
    ("'\\t'", "a tab where YAML allows only spaces", "Indent with spaces."),
    ("but found another document", "a second document starts here", "One recipe per file: remove the `---`."),
    ("mapping values are not allowed", "a second `: ` in one line", "Quote the value, or mind the indentation."),
    ("the tag ", "a tag (!...)", "Tags are not read: write the value, in quotes if it is text."),
    ("too many values", f"more than {LARGEST_DOCUMENT} values", "Data belongs into files of its own."),
    ("undefined alias", "", "Define the anchor (&name) above it."),
)
