"""Scored groups as JSON lines: what a run trained on, in the form that the `jsonl` prompt source reads back.

One group a line: {"id", "prompt", "facts", "answer", "completions": [{"text", "finished", "token_ids", "scores"}],
"pair_weights", "rewards"}. A score is a number, null (abstained), or {"failed": reason}; never NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from copgkit.errors import DataError
from copgkit.store.run_folder import write_whole
from copgkit.types import Completion, Group, Message, Prompt, Score, ScoredGroup


def write_groups(path: Path, groups: Sequence[ScoredGroup]) -> None:
    """Writes the groups in order; numbers keep every digit."""
    lines = [json.dumps(_row(scored), ensure_ascii=False, allow_nan=False, default=str) for scored in groups]
    write_whole(path, "".join(line + "\n" for line in lines))


def read_groups(path: Path) -> Iterator[ScoredGroup]:
    """Reads what write_groups wrote. Raises DataError naming file and line for anything else."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path.name}:{number}"
            try:
                yield _scored_group(json.loads(line), place)
            except (ValueError, KeyError, TypeError) as fault:
                raise DataError(f"{place}: not a scored group ({type(fault).__name__}: {fault}).") from fault


def _row(scored: ScoredGroup) -> dict[str, Any]:
    group, prompt = scored.group, scored.group.prompt
    return {
        "id": prompt.id,
        "prompt": prompt.content if isinstance(prompt.content, str) else list(prompt.content),
        "facts": dict(prompt.facts),
        "answer": prompt.answer,
        "completions": [
            {
                "text": completion.text,
                "finished": completion.finished,
                "token_ids": completion.token_ids,
                "scores": {name: _score_out(scores[k]) for name, scores in scored.scores.items()},
            }
            for k, completion in enumerate(group.completions)
        ],
        "pair_weights": group.pair_weights,
        "rewards": scored.rewards,
    }


def _score_out(score: Score) -> Any:
    return {"failed": score.failure} if score.failure is not None else score.value


def _score_in(given: Any) -> Score:
    return Score.failed(given["failed"]) if isinstance(given, dict) else Score(given)


def _scored_group(row: dict[str, Any], place: str) -> ScoredGroup:
    given = row["prompt"]
    content = (
        given
        if isinstance(given, str)
        else tuple(Message(role=turn["role"], content=turn["content"]) for turn in given)
    )
    prompt = Prompt(content, row["id"], row["facts"], row["answer"], origin=place)
    completions = tuple(
        Completion(prompt, one["text"], one["token_ids"] and tuple(one["token_ids"]), one["finished"])
        for one in row["completions"]
    )
    weights = row["pair_weights"] and tuple(map(tuple, row["pair_weights"]))
    names = row["completions"][0]["scores"]
    scores = {name: [_score_in(one["scores"][name]) for one in row["completions"]] for name in names}
    return ScoredGroup(Group(prompt, completions, weights), scores, tuple(row["rewards"]))
