"""Which part of a completion is the program: a stated rule, by text alone.

1. Of the fenced blocks that are tagged `python`, `py`, `python3` or not at all, the last that defines the wanted name;
   if none does, the last tagged one, else the last untagged one. An open fence reaches to the end of the text.
2. Without such a block, the whole text.
3. Where the prompt is itself code that begins the wanted function, a program that does not define that function, or
   that starts with an indented line, goes on where the prompt ends; any other is put behind what the prompt has before
   the function (imports, helpers).

Nothing is parsed here: compiling hostile text costs memory and time, so that happens in the sandbox. Limits: a
definition is seen at the start of a line only (`def name(`, `class name`, `name =`), also where it stands in a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARACTERS = 400_000
"""Longer programs are not run. The longest human solution in the common benchmarks has a few thousand."""

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$", re.MULTILINE)
_INDENTED = re.compile(r"(?:[ \t]*\r?\n)*[ \t]+\S")
_PYTHON = {"python", "py", "python3"}


@dataclass(frozen=True)
class Program:
    """The source to run; `fault` says why there is nothing that could run."""

    source: str
    fault: str = ""


def program_of(completion: str, prompt: str = "", wanted: str = "") -> Program:
    """The program that a completion gives.

    prompt: the text that the model was given, for rule 3. wanted: the name that the tests ask for, where one is known.
    """
    source = _chosen(_blocks(completion[: 4 * MAX_CHARACTERS]), wanted)
    source = completion if source is None else source
    if not source.strip():
        return Program("", "no-code")
    if wanted:
        source = _continued(prompt, source, wanted)
    if len(source) > MAX_CHARACTERS:
        return Program("", "too-long")
    return Program(source, "" if _is_text(source) else "does-not-compile")


def header_of(prompt: str, wanted: str) -> str | None:
    """What a prompt that is code has before the wanted function; None if the prompt does not begin that function."""
    start = _definition(prompt, wanted)
    return None if start is None else prompt[:start]


def _blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks as (tag, content), in order."""
    blocks, opened = [], None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1].startswith(opened[1]) and not fence[2]:
            blocks.append((opened[2].lower(), text[opened.end() + 1 : fence.start()]))
            opened = None
    if opened is not None:
        blocks.append((opened[2].lower(), text[opened.end() + 1 :]))
    return blocks


def _chosen(blocks: list[tuple[str, str]], wanted: str) -> str | None:
    tagged = [content for tag, content in blocks if tag in _PYTHON]
    untagged = [content for tag, content in blocks if not tag]
    defining = [
        content
        for tag, content in blocks
        if (tag in _PYTHON or not tag) and wanted and _definition(content, wanted) is not None
    ]
    for choice in (defining, tagged, untagged):
        if choice:
            return choice[-1]
    return None


def _continued(prompt: str, source: str, wanted: str) -> str:
    header = header_of(prompt, wanted)
    if header is None:
        return source
    goes_on = _INDENTED.match(source) is not None or _definition(source, wanted) is None
    return prompt + source if goes_on else header + source


def _definition(source: str, name: str) -> int | None:
    """Where a line begins that defines the name; None if none does."""
    pattern = rf"^(?:(?:async[ \t]+)?def[ \t]+{name}\b|class[ \t]+{name}\b|{name}[ \t]*(?::[^=\n]*)?=(?!=))"
    found = re.search(pattern, source, re.MULTILINE) if name in source else None
    return found.start() if found else None


def _is_text(source: str) -> bool:
    """False for what no Python file can hold: NUL, and halves of surrogate pairs."""
    try:
        source.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in source
