"""The question to the judge: a template with places that are filled once.

Not `str.format`: completions and facts are foreign text, and so is what they hold between braces. A place is filled
with text that is not looked at again, and braces that name no place stay as they are, so that a template may show JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

from copgkit import Completion, DataError

_PLACE = re.compile(r"\{\{([\w.-]+)\}\}|\{([\w.-]+)\}")
_PLAIN = ("prompt", "completion", "answer")


def check_template(template: str) -> str:
    """The template. Raises ValueError for a place that cannot be filled, and if the completion is not shown."""
    places = [found[2] for found in _PLACE.finditer(template) if found[2]]
    for name in places:
        if name not in _PLAIN and not (name.startswith("facts.") and name != "facts."):
            raise ValueError(
                f"'{{{name}}}' is not a place that can be filled. There are {{prompt}}, {{completion}}, {{answer}} and"
                f" {{facts.NAME}}; for the plain characters write {{{{{name}}}}}."
            )
    if "completion" not in places:
        raise ValueError("it does not show the judge what to grade. Put {completion} where the completion belongs.")
    return template


def fill(template: str, completion: Completion, place: str) -> str:
    """The question about one completion. Raises DataError naming the prompt that lacks what the template asks for."""

    def text(found: re.Match[str]) -> str:
        return f"{{{found[1]}}}" if found[1] else _text_at(found[2], completion, place)

    return _PLACE.sub(text, template)


def _text_at(name: str, completion: Completion, place: str) -> str:
    prompt = completion.prompt
    known: dict[str, Any] = {
        "completion": completion.text,
        "prompt": prompt.text,
        "answer": prompt.answer,
        **{f"facts.{key}": value for key, value in prompt.facts.items()},
    }
    value = known.get(name)
    if value is None:
        there = [key for key, each in known.items() if each is not None]
        raise DataError(
            f"{prompt.place}: {place} asks for {{{name}}}, which this prompt does not have. It has: {', '.join(there)}."
        )
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
