"""From what a row holds of a completion to a `Recorded`: text, token ids, and scores that keep what they say.

A score is a finite number, null (the source abstained) or {"failed": reason}; a score that is not there is missing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from copgkit import DataError, PairWeights, Recorded, Score

KEYS = ("text", "finished", "token_ids", "scores", "notes", "recorded_scores")


def completion_of(given: Any, scores: Mapping[str, Any], place: str) -> Recorded:
    """A completion, given as its text or as an object; scores: those that stand in columns beside it."""
    if isinstance(given, str):
        return Recorded(given, _scores(scores, {}, place))
    if not isinstance(given, Mapping) or not isinstance(given.get("text"), str):
        raise DataError(f"{place}: neither a text nor an object with a 'text'.")
    _refuse_misspelt(given, place)
    known = _mapping(given, "recorded_scores", place) | dict(scores) | _mapping(given, "scores", place)
    return Recorded(
        text=given["text"],
        scores=_scores(known, _mapping(given, "notes", place), place),
        token_ids=_token_ids(given.get("token_ids"), place),
        finished=given.get("finished") is None or bool(given["finished"]),
    )


def weights_of(given: Any, size: int, place: str) -> PairWeights | None:
    """The pair weights of a group [K, K]; None if the row has none."""
    if given is None:
        return None
    try:
        weights = tuple(tuple(float(weight) for weight in row) for row in given)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{place}: 'pair_weights' is not a table of numbers. Give K rows of K, or leave it out."
        ) from None
    pairs = [(i, j) for i in range(len(weights)) for j in range(len(weights))]
    if len(weights) != size or any(len(row) != size for row in weights):
        raise DataError(f"{place}: 'pair_weights' is not {size} by {size}, one row and column for each completion.")
    if any(not math.isfinite(weights[i][j]) or weights[i][j] < 0 or weights[i][j] != weights[j][i] for i, j in pairs):
        raise DataError(f"{place}: 'pair_weights' must be finite, not negative, and the same in both directions.")
    return weights


def _scores(scores: Mapping[str, Any], notes: Mapping[str, Any], place: str) -> dict[str, float | Score]:
    return {str(name): _score(name, value, notes.get(name) or {}, place) for name, value in scores.items()}


def _score(name: str, value: Any, notes: Mapping[str, Any], place: str) -> float | Score:
    """A plain number where that says it all."""
    if value is None:
        return Score(None, notes) if notes else Score.abstain()
    if isinstance(value, Mapping) and isinstance(value.get("failed"), str):
        return Score(None, notes, failure=value["failed"])
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise DataError(f"{place}: the score '{name}' is {_short(value)}. {_remedy(value)}")
    return Score(float(value), notes) if notes else float(value)


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _remedy(value: Any) -> str:
    if isinstance(value, str) and value.strip().lower() not in ("nan", "inf", "-inf"):
        try:
            return f"Write {float(value):g}, without quotes."
        except ValueError:
            pass
    return 'Give a finite number, null for an abstention, {"failed": "reason"}, or leave the score out.'


def _token_ids(given: Any, place: str) -> tuple[int, ...] | None:
    if given is None:
        return None
    if not isinstance(given, Sequence) or any(isinstance(one, bool) or not isinstance(one, int) for one in given):
        raise DataError(
            f"{place}: 'token_ids' is not a list of whole numbers. Leave it out to have the text tokenised."
        )
    return tuple(given)


def _mapping(given: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    value = given.get(key) or {}
    if not isinstance(value, Mapping):
        raise DataError(f"{place}: '{key}' is a {type(value).__name__}, not an object with a value for each name.")
    return dict(value)


def _refuse_misspelt(given: Mapping[str, Any], place: str) -> None:
    """A key of another's own is left alone; one that nearly is one of ours is a mistake that would go unseen."""
    for key in given:
        near = difflib.get_close_matches(key, KEYS, 1, cutoff=0.85)
        if key not in KEYS and near and near[0] not in given:
            raise DataError(f"{place}: unknown key '{key}'. Did you mean '{near[0]}'?")
