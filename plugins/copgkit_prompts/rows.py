"""From a row of data to a Prompt: prompts alone, conversations, scored groups, and preference pairs, as they are.

What a completion may hold and how its scores are read is in `recorded.py`.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from copgkit import DataError, Message, Prompt, Recorded
from copgkit_prompts.recorded import completion_of, weights_of

PREFERENCE = "preference"
"""The score of a preference pair's completions: 1 for the chosen one, 0 for the rejected one."""


class Fields(BaseModel):
    """Which field of a row means what."""

    prompt_field: str = Field("prompt", description="The prompt: a text, or a list of messages.")
    template: str | None = Field(
        None,
        description="Makes the prompt from several fields, for instance 'POST: {post}\\n\\nTL;DR:'. A list gives a line"
        " for each of its items.",
    )
    as_conversation: bool = Field(
        False, description="Make a plain prompt the user's turn of a conversation, as chat models need it."
    )
    answer_field: str = Field("answer", description="A known good text, where there is one.")
    completions_field: str = Field("completions", description="Recorded completions: texts, or objects with a text.")
    scores_field: str = Field("scores", description="Scores beside plain-text completions: name -> list of numbers.")
    chosen_field: str = Field("chosen", description="The preferred completion of a preference pair.")
    rejected_field: str = Field("rejected", description="The other completion of a preference pair.")
    facts_fields: list[str] = Field(default_factory=list, description="More fields to keep as facts.")
    id_field: str = Field("id", description="A name for the row.")


def prompt_of_row(row: Any, place: str, fields: Fields) -> Prompt:
    """The row as a Prompt. Raises DataError naming the place for anything that is missing or of the wrong type."""
    if not isinstance(row, Mapping):
        raise DataError(f"{place}: the row is a {type(row).__name__}, not an object with fields.")
    content, answer = _content(row, place, fields)
    recorded = _recorded(row, place, fields)
    if row.get(fields.chosen_field) is not None and row.get(fields.rejected_field) is not None:
        content, recorded = _preference(row, content, place, fields)
    if content is None:
        raise DataError(f"{place}: no field '{fields.prompt_field}'. {_names(row)}")
    if not (content if isinstance(content, str) else content and content[-1]["content"]).strip():  # type: ignore[union-attr]
        raise DataError(f"{place}: the prompt is empty. Every row needs a prompt that says something.")
    if fields.as_conversation and isinstance(content, str):
        content = (Message(role="user", content=content),)
    return Prompt(
        content=content,
        id=str(row.get(fields.id_field) or ""),
        facts=_facts(row, place, fields),
        answer=_text(row.get(fields.answer_field), fields.answer_field, place) or answer,
        recorded=tuple(recorded),
        origin=place,
        recorded_weights=weights_of(row.get("pair_weights"), len(recorded), place),
    )


def _content(row: Mapping[str, Any], place: str, fields: Fields) -> tuple[str | tuple[Message, ...] | None, str | None]:
    """The prompt, and the answer if the conversation ends with one."""
    if fields.template is not None:
        return _filled(fields.template, row, place), None
    given = row.get(fields.prompt_field)
    if given is None and "messages" in row:
        turns = _messages(row["messages"], "messages", place)
        if turns[-1]["role"] == "assistant" and len(turns) > 1:
            return turns[:-1], turns[-1]["content"]
        return turns, None
    if given is None or isinstance(given, str):
        return given, None
    return _messages(given, fields.prompt_field, place), None


def _filled(template: str, row: Mapping[str, Any], place: str) -> str:
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    for name in names:
        if row.get(name) is None:
            raise DataError(f"{place}: the template asks for '{name}', which this row does not have. {_names(row)}")
    return template.format_map({name: _told(row[name]) for name in names})


def _told(value: Any) -> Any:
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def _messages(given: Any, field: str, place: str) -> tuple[Message, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise DataError(f"{place}: '{field}' is neither a text nor a list of messages.")
    turns = []
    for turn in given:
        if not isinstance(turn, Mapping) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
            raise DataError(f"{place}: a message of '{field}' has no text under 'role' and 'content'.")
        turns.append(Message(role=turn["role"], content=turn["content"]))
    return tuple(turns)


def _recorded(row: Mapping[str, Any], place: str, fields: Fields) -> list[Recorded]:
    given = row.get(fields.completions_field)
    if given is None:
        return []
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise DataError(f"{place}: '{fields.completions_field}' is not a list.")
    columns = _columns(row.get(fields.scores_field), len(given), place, fields.scores_field)
    return [
        completion_of(one, {name: values[k] for name, values in columns.items()}, f"{place}, completion {k + 1}")
        for k, one in enumerate(given)
    ]


def _columns(given: Any, size: int, place: str, field: str) -> dict[str, Sequence[Any]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DataError(f"{place}: '{field}' must map names to lists of numbers.")
    for name, values in given.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != size:
            found = len(values) if isinstance(values, Sequence) else type(values).__name__
            raise DataError(f"{place}: '{field}.{name}' has {found} scores for {size} completions. One each, in order.")
    return dict(given)


def _preference(
    row: Mapping[str, Any], content: str | tuple[Message, ...] | None, place: str, fields: Fields
) -> tuple[str | tuple[Message, ...], list[Recorded]]:
    """The pair's prompt and completions; a prompt that both share is taken off where it is not given by itself."""
    chosen, rejected = row[fields.chosen_field], row[fields.rejected_field]
    if isinstance(chosen, str) and isinstance(rejected, str):
        content, texts = _text_pair(content, chosen, rejected, place)
    else:
        pair = _messages(chosen, fields.chosen_field, place), _messages(rejected, fields.rejected_field, place)
        content, texts = _conversation_pair(content, *pair, place)
    return content, [Recorded(text, {PREFERENCE: value}) for text, value in zip(texts, (1.0, 0.0), strict=True)]


def _text_pair(
    content: str | tuple[Message, ...] | None, chosen: str, rejected: str, place: str
) -> tuple[str | tuple[Message, ...], tuple[str, str]]:
    if content is None:
        raise DataError(f"{place}: a preference pair of plain texts needs its prompt in a field of its own.")
    if isinstance(content, str) and chosen.startswith(content) and rejected.startswith(content):
        return content, (chosen[len(content) :], rejected[len(content) :])
    return content, (chosen, rejected)


def _conversation_pair(
    content: str | tuple[Message, ...] | None, chosen: tuple[Message, ...], rejected: tuple[Message, ...], place: str
) -> tuple[str | tuple[Message, ...], tuple[str, str]]:
    if chosen[:-1] != rejected[:-1] or {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        raise DataError(f"{place}: chosen and rejected must share all turns but the assistant's last one.")
    shared = chosen[:-1] or content
    if not shared:
        raise DataError(f"{place}: a preference pair without a prompt, neither of its own nor in the conversations.")
    return shared, (chosen[-1]["content"], rejected[-1]["content"])


def _facts(row: Mapping[str, Any], place: str, fields: Fields) -> dict[str, Any]:
    facts = row.get("facts") or {}
    if not isinstance(facts, Mapping):
        raise DataError(f"{place}: 'facts' is a {type(facts).__name__}, not an object.")
    for name in fields.facts_fields:
        if name not in row:
            raise DataError(f"{place}: no field '{name}', which facts_fields asks for. {_names(row)}")
    return dict(facts) | {name: row[name] for name in fields.facts_fields}


def _text(value: Any, field: str, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise DataError(f"{place}: '{field}' is a {type(value).__name__}, not a text.")


def _names(row: Mapping[str, Any]) -> str:
    return f"The row has: {', '.join(map(str, row)) or 'no fields'}."
