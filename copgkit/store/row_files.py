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
from copgkit.store.parquet_rows import read_parquet

_BOM = b"\xef\xbb\xbf"


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Gives (place, row) for each row of a `.parquet` file, or for each line that is not blank of a file with one JSON
    value a line (`.gz` is read as it is). Raises DataError naming file and row for what cannot be read."""
    return read_parquet(path) if path.suffix == ".parquet" else _json_rows(path)


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
