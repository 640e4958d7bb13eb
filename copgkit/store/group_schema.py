"""The format of scored groups as a JSON schema, for other programs that write or read them.

    copgkit schema --groups

A run writes every key; a file that copgkit reads needs `prompt` and `completions` alone. docs/scored-groups.md says the
same in words. Reading does not go through these models: the prompt sources name file, row and remedy.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Row(BaseModel):
    model_config = ConfigDict(extra="allow")


class Failed(BaseModel):
    """A failure: the source could not tell. Never a zero."""

    model_config = ConfigDict(extra="forbid")
    failed: str = Field(description="Why.")


class Turn(_Row):
    """One turn of a conversation."""

    role: str
    content: str


ScoreValue = FiniteFloat | Failed | None


class CompletionRow(_Row):
    """One completion of the group's prompt."""

    text: str = Field(description="What was written.")
    finished: bool = Field(True, description="False if it was stopped at a length limit.")
    token_ids: list[int] | None = Field(
        None, description="The ids it was generated with, end-of-sequence included; null: the text is tokenised."
    )
    scores: dict[str, ScoreValue] = Field(
        default_factory=dict,
        description="By source: a finite number, null (it abstained), or a failure. A name that is absent is missing.",
    )
    mapped: dict[str, FiniteFloat | None] = Field(
        default_factory=dict, description="By source: the value after clip, scale and shift, where a recipe had them."
    )
    weighted: dict[str, FiniteFloat | None] = Field(
        default_factory=dict, description="By source: the value times its weight, where that was not 1."
    )
    notes: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict, description="By source: what it noted beside its score."
    )
    recorded_scores: dict[str, ScoreValue] = Field(
        default_factory=dict, description="Scores that the completion had before these; `scores` goes first."
    )


class GroupRow(_Row):
    """A prompt, its completions, and what was said of each: one line of a file."""

    id: str = Field("", description="A name for the row.")
    prompt: str | list[Turn] = Field(description="A text, or the turns of a conversation.")
    facts: dict[str, JsonValue] = Field(
        default_factory=dict, description="What reward sources may read and no model sees: tests, labels, ..."
    )
    answer: str | None = Field(None, description="A known good text.")
    completions: list[CompletionRow] = Field(description="K of them; training needs two or more. K may differ by row.")
    pair_weights: list[list[FiniteFloat]] | None = Field(
        None, description="[K, K], symmetric, not negative: how much each pair counts. null: all alike."
    )
    rewards: list[FiniteFloat] = Field(
        default_factory=list,
        description="[K], the weighted sums a run optimised; empty where a completion has none. Not read for training.",
    )


def group_schema() -> dict[str, Any]:
    """The JSON schema of one row."""
    return {"$schema": DIALECT, **GroupRow.model_json_schema()}
