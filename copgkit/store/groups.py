"""Scored groups as JSON lines or Parquet: what a run trained on, in the form that `jsonl` and `parquet` read back.

One group a line: {"id", "prompt", "facts", "answer", "completions": [{"text", "finished", "token_ids", "scores"}],
"pair_weights", "rewards"}. A score is a number, null (abstained), or {"failed": reason}; never NaN. A completion also
has, by source and where there is something to say,
"mapped": values after clip, scale and shift, of the sources that have such a map;
"weighted": values times their weight, of the sources whose weight is not 1;
"notes": what sources noted beside their scores; and "recorded_scores": the scores that came with the data.
A source adds to the reward its weighted value, else its mapped one, else its score. The sum of these, plus the penalty
of an unfinished completion if the recipe has one, is the reward.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from copgkit.errors import DataError
from copgkit.store.json_lines import read_lines, to_line
from copgkit.store.parquet_rows import read_parquet, write_parquet
from copgkit.store.run_folder import write_whole
from copgkit.types import Completion, Group, Message, Prompt, Score, ScoredGroup

T = TypeVar("T")
_STEPS = ("mapped", "weighted")


def write_groups(path: Path, groups: Iterable[ScoredGroup]) -> None:
    """Writes the groups in order, one at a time; the file appears when all are written. Numbers keep every digit.

    A name that ends with `.parquet` makes a Parquet file, any other JSON lines. Raises DataError for a score, reward or
    weight that is not finite, and for what Parquet cannot hold.
    """
    if path.suffix == ".parquet":
        write_parquet(path, ((scored.group.prompt.place, json.loads(_line(scored))) for scored in groups))
    else:
        write_whole(path, map(_line, groups))


def read_groups(path: Path) -> Iterator[ScoredGroup]:
    """Reads what write_groups wrote, one group at a time; a prompt's origin is then the line it was read from.

    Raises DataError naming file and line for anything else.
    """
    for place, row in read_parquet(path) if path.suffix == ".parquet" else read_lines(path):
        try:
            group = scored_group_from_row(row, place)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as fault:
            raise DataError(f"{place}: not a scored group ({type(fault).__name__}: {fault}).") from fault
        yield group


def score_out(score: Score) -> float | dict[str, str] | None:
    """A score as JSON: a number, null for an abstention, {"failed": reason} for a failure."""
    return {"failed": score.failure} if score.failure is not None else score.value


def score_in(given: Any, notes: Mapping[str, float | str] | None = None) -> Score:
    """The inverse of score_out."""
    if isinstance(given, dict):
        return Score(None, notes or {}, failure=given["failed"])
    if given is not None and (isinstance(given, bool) or not isinstance(given, int | float)):
        raise ValueError(f"the score {given!r} is neither a number, null nor a failure")
    return Score(given, notes or {})


def _line(scored: ScoredGroup) -> str:
    try:
        return to_line(scored_group_to_row(scored))
    except ValueError as fault:
        raise DataError(
            f"{scored.group.prompt.place}: a score, reward or weight of this group is not finite ({fault})."
            " Scores must be finite numbers, abstentions or failures."
        ) from fault


def scored_group_to_row(scored: ScoredGroup) -> dict[str, Any]:
    """A scored group as plain JSON data, in the form that this file describes."""
    group, prompt = scored.group, scored.group.prompt
    return {
        "id": prompt.id,
        "prompt": prompt.content if isinstance(prompt.content, str) else list(prompt.content),
        "facts": _plain(prompt.facts),
        "answer": prompt.answer,
        "completions": [
            _completion_out(completion, _row_of(scored.scores, k))
            | {name: of for name in _STEPS if (of := _row_of(getattr(scored, name), k))}
            for k, completion in enumerate(group.completions)
        ],
        "pair_weights": group.pair_weights,
        "rewards": scored.rewards,
    }


def _row_of(columns: Mapping[str, Sequence[T]], k: int) -> dict[str, T]:
    """What every source has for completion k."""
    return {name: column[k] for name, column in columns.items()}


def _completion_out(completion: Completion, scores: Mapping[str, Score]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "text": completion.text,
        "finished": completion.finished,
        "token_ids": completion.token_ids,
        "scores": {name: score_out(score) for name, score in scores.items()},
    }
    came = {name: score for name, score in completion.recorded_scores.items() if isinstance(score, Score)}
    notes = {name: _plain(score.notes) for name, score in (came | dict(scores)).items() if score.notes}
    recorded = _plain(completion.recorded_scores) | {name: score_out(score) for name, score in came.items()}
    return row | ({"notes": notes} if notes else {}) | ({"recorded_scores": recorded} if recorded else {})


def _plain(value: Any) -> Any:
    """Facts and notes as JSON data. A NaN there is a table's way of saying that something is missing: null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def scored_group_from_row(row: Mapping[str, Any], place: str = "") -> ScoredGroup:
    """The inverse of scored_group_to_row. place: the prompt's origin."""
    prompt = Prompt(_content(row["prompt"]), row["id"], row["facts"], row["answer"], origin=place)
    completions = tuple(
        Completion(
            prompt=prompt,
            text=one["text"],
            token_ids=None if one["token_ids"] is None else tuple(one["token_ids"]),
            finished=one["finished"],
            recorded_scores=_recorded(one),
        )
        for one in row["completions"]
    )
    weights = row["pair_weights"] and tuple(map(tuple, row["pair_weights"]))
    steps = {name: _columns(row["completions"], name) for name in _STEPS}
    return ScoredGroup(Group(prompt, completions, weights), _scores(row["completions"]), tuple(row["rewards"]), **steps)


def _recorded(one: dict[str, Any]) -> dict[str, float | Score]:
    """The scores that came with the data; what is no plain number, or has notes of its own, is a Score."""
    notes = {name: said for name, said in one.get("notes", {}).items() if name not in one["scores"]}
    scores = {name: score_in(value, notes.get(name)) for name, value in one.get("recorded_scores", {}).items()}
    return {name: score if score.value is None or score.notes else score.value for name, score in scores.items()}


def _content(given: Any) -> str | tuple[Message, ...]:
    if isinstance(given, str):
        return given
    return tuple(Message(role=turn["role"], content=turn["content"]) for turn in given)


def _scores(completions: list[dict[str, Any]]) -> dict[str, list[Score]]:
    return {
        name: [score_in(given, one.get("notes", {}).get(name)) for given, one in zip(column, completions, strict=True)]
        for name, column in _columns(completions, "scores").items()
    }


def _columns(completions: list[dict[str, Any]], key: str) -> dict[str, list[Any]]:
    """What stands under a key by source, K each; every completion must have the same sources."""
    names = completions[0].get(key, {}) if completions else {}
    for k, one in enumerate(completions, start=1):
        if one.get(key, {}).keys() != names.keys():
            raise ValueError(f"completion {k} has the {key} {sorted(one.get(key, {}))}, the first {sorted(names)}")
    return {name: [one[key][name] for one in completions] for name in names}
