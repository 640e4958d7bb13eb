"""Rows of data files that people and other programs wrote, each with its place ("posts.jsonl:17"): JSON lines, Parquet.

Neither is read through `datasets`. JSON lines: Arrow gives all rows the same columns, so facts whose keys differ from
row to row would come back with keys that were never there, and a broken line is not named. Parquet: its maps, in which
a score that is missing and one that is null differ, would be lost.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from copgkit.errors import DataError

_BOM = b"\xef\xbb\xbf"
_AS_JSON = ("facts", "notes", "recorded_scores")  # as `copgkit` writes them into Parquet: any keys, any values


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Gives (place, row) for each row of a `.parquet` file, or for each line that is not blank of a file with one JSON
    value a line (`.gz` is read as it is). Raises DataError naming file and row for what cannot be read."""
    return _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)


def open_lines(path: Path) -> IO[bytes]:
    """The lines of a file, compressed (`.gz`) or not."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Byte order marks and Windows line ends are no fault."""
    with open_lines(path) as file:  # bytes, because text that models write holds characters at which text is split
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(_BOM).strip() if number == 1 else line.strip()
            if not content:
                continue
            place = f"{path.name}:{number}"
            try:
                row = json.loads(content.decode("utf-8"))
            except ValueError as fault:  # what is no UTF-8 is a ValueError, too
                remedy = "One object a line." if line.endswith(b"\n") else "It is cut off: remove or complete it."
                raise DataError(f"{place}: this line is not JSON ({fault}). {remedy}") from fault
            yield place, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Maps become dictionaries. A struct gives every row the fields of all rows, so a score that is null there may well
    be missing: it is left out."""
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
    except (OSError, ArrowException) as fault:
        raise DataError(f"{path.name}: it is no Parquet file that can be read ({fault}).") from fault
    with file:
        batches = (batch.to_pylist(maps_as_pydicts="strict") for batch in file.iter_batches(batch_size=256))
        schema = file.schema_arrow
        for number, row in enumerate((row for batch in batches for row in batch), start=1):
            yield f"{path.name}:{number}", _plain(row, schema, f"{path.name}:{number}")


def _plain(row: dict[str, Any], schema: Any, place: str) -> dict[str, Any]:
    """The row as a JSON line would hold it."""
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
