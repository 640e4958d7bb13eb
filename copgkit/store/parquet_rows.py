"""Scored groups as Parquet: the rows of the JSON lines in columns that other programs can read, and back without loss.

Scores are maps from source to number, so that a score that is null (abstained) and one that is missing differ; failures
stand in a map of their own. Facts, notes and recorded scores may hold anything, so they are JSON texts. Parquet holds
whole characters only, and one type in a column: text with half a character, or a file in which some prompts are
conversations and others plain, goes into JSON lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from copgkit.errors import DataError

_ROWS_AT_A_TIME = 256
_AS_JSON = ("facts", "notes", "recorded_scores")
_WHERE_THERE_ARE = ("failures", "notes", "recorded_scores", "mapped", "weighted")


def write_parquet(path: Path, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Writes (place, row) pairs, the rows as JSON lines would hold them; the file appears when all are written.

    Raises DataError naming the place of a row that Parquet cannot hold."""
    from pyarrow import Table, parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    given = iter(rows)
    first = next(given, None)
    conversations = first is not None and not isinstance(first[1]["prompt"], str)
    schema = _schema(conversations)
    try:
        with parquet.ParquetWriter(draft, schema, compression="zstd") as writer:
            for batch in _batches(chain([first] if first else [], given)):
                columns = [_columns(row, place, conversations) for place, row in batch]
                writer.write_table(Table.from_pylist(columns, schema))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gives (place, row) for each row, as a JSON line would hold it. Maps become dictionaries. A struct gives every row
    the fields of all rows, so a score that is null there may well be missing: it is left out."""
    schema, rows = _rows_of(path)
    for number, row in enumerate(rows, start=1):
        place = f"{path.name}:{number}"
        plain = _plain(row, schema, place)
        for one in plain.get("completions") or ():
            if isinstance(one, dict):
                _fold(one)
        yield place, plain


def _rows_of(path: Path) -> tuple[Any, Iterator[dict[str, Any]]]:
    """The schema of a file and its rows. Raises DataError where it is damaged, also far into it."""
    from pyarrow import ArrowException, parquet

    faults = (OSError, ArrowException, UnicodeDecodeError, KeyError)  # KeyError: a map that has a key twice

    def refused(fault: BaseException) -> DataError:
        return DataError(f"{path.name}: it is no Parquet file that can be read ({fault}).")

    try:
        file = parquet.ParquetFile(path)
    except faults as fault:
        raise refused(fault) from fault

    def rows() -> Iterator[dict[str, Any]]:
        with file:
            try:
                for batch in file.iter_batches(_ROWS_AT_A_TIME):
                    yield from batch.to_pylist(maps_as_pydicts="strict")
            except faults as fault:
                raise refused(fault) from fault

    return file.schema_arrow, rows()


def _schema(conversations: bool) -> Any:
    import pyarrow as arrow

    text, number = arrow.string(), arrow.float64()
    turn = arrow.struct([("role", text), ("content", text)])
    completion = arrow.struct(
        [
            ("text", text),
            ("finished", arrow.bool_()),
            ("token_ids", arrow.list_(arrow.int64())),
            ("scores", arrow.map_(text, number)),
            ("failures", arrow.map_(text, text)),
            ("mapped", arrow.map_(text, number)),
            ("weighted", arrow.map_(text, number)),
            ("notes", text),
            ("recorded_scores", text),
        ]
    )
    return arrow.schema(
        [
            ("id", text),
            ("prompt", arrow.list_(turn) if conversations else text),
            ("facts", text),
            ("answer", text),
            ("completions", arrow.list_(completion)),
            ("pair_weights", arrow.list_(arrow.list_(number))),
            ("rewards", arrow.list_(number)),
        ]
    )


def _batches(rows: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    given = iter(rows)
    while batch := list(islice(given, _ROWS_AT_A_TIME)):
        yield batch


def _columns(row: dict[str, Any], place: str, conversations: bool) -> dict[str, Any]:
    """The row as the schema has it."""
    if isinstance(row["prompt"], str) is conversations:
        raise DataError(
            f"{place}: some prompts of this file are plain text and others conversations; a Parquet column holds one"
            " type. Write JSON lines (.jsonl)."
        )
    made = {
        **row,
        "facts": json.dumps(row["facts"], default=str),
        "completions": list(map(_completion, row["completions"])),
    }
    _refuse_half_characters(made, place)
    return made


def _completion(one: dict[str, Any]) -> dict[str, Any]:
    failures = {name: value["failed"] for name, value in one["scores"].items() if isinstance(value, Mapping)}
    as_text = {key: json.dumps(one[key], default=str) for key in _AS_JSON if key in one}
    scores = {name: value for name, value in one["scores"].items() if name not in failures}
    return {**one, "scores": scores, "failures": failures or None, **as_text}


def _refuse_half_characters(value: Any, place: str) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as fault:
            raise DataError(
                f"{place}: a text holds half a character ({value[fault.start : fault.end]!r}), which Parquet cannot."
                " Write JSON lines (.jsonl)."
            ) from fault
    elif isinstance(value, Mapping):
        for inner in chain(value.keys(), value.values()):
            _refuse_half_characters(inner, place)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_half_characters(inner, place)


def _plain(row: dict[str, Any], schema: Any, place: str) -> dict[str, Any]:
    return {field.name: _value(row[field.name], field, place) for field in schema}


def _value(value: Any, field: Any, place: str) -> Any:
    from pyarrow import types

    if field.name in _AS_JSON and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError as fault:
            raise DataError(f"{place}: '{field.name}' is a text that is not JSON ({fault}).") from fault
    if types.is_struct(field.type) and isinstance(value, dict):
        inner = _plain(value, field.type, place)
        return {name: one for name, one in inner.items() if one is not None} if field.name == "scores" else inner
    if types.is_list(field.type) or types.is_large_list(field.type):
        return value and [_value(one, field.type.value_field, place) for one in value]
    return value


def _fold(completion: dict[str, Any]) -> None:
    """Puts failures among the scores, where JSON lines have them, and leaves out what says nothing."""
    for name, reason in (completion.get("failures") or {}).items():
        completion["scores"] = {**(completion.get("scores") or {}), name: {"failed": reason}}
    completion.pop("failures", None)
    for key in _WHERE_THERE_ARE:
        if completion.get(key, "") is None:
            del completion[key]
