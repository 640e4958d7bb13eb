"""Rows of data files that people and other programs wrote, each with its place ("posts.jsonl:17"): JSON lines, Parquet.

Neither is read through `datasets`. JSON lines: Arrow gives all rows the same columns, so facts whose keys differ from
row to row would come back with keys that were never there, and a broken line is not named. Parquet: its maps, in which
a score that is missing and one that is null differ, would be lost.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from copgkit.errors import DataError
from copgkit.store.parquet_rows import read_parquet

_BOM = b"\xef\xbb\xbf"
LARGEST_LINE = 16 << 20
"""Bytes. A longer line is no row of a prompt and its completions, but a file without line ends, or an attack."""


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Gives (place, row) for each row of a `.parquet` file, or for each line that is not blank of a file with one JSON
    value a line (`.gz` is read as it is). Raises DataError naming file and row for what cannot be read."""
    return read_parquet(path) if path.suffix == ".parquet" else _json_rows(path)


def open_lines(path: Path) -> IO[bytes]:
    """The lines of a file, compressed (`.gz`) or not."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Byte order marks and Windows line ends are no fault."""
    for number, line in enumerate(_lines(path), start=1):
        content = line.removeprefix(_BOM).strip() if number == 1 else line.strip()
        if not content:
            continue
        place = f"{path.name}:{number}"
        if len(line) > LARGEST_LINE:
            raise DataError(f"{place}: the line is longer than 16 MiB. One object a line, with line ends between them.")
        try:
            row = json.loads(content.decode("utf-8"))
        except ValueError as fault:  # what is no UTF-8 is a ValueError, too
            remedy = "One object a line." if line.endswith(b"\n") else "It is cut off: remove or complete it."
            raise DataError(f"{place}: this line is not JSON ({fault}). {remedy}") from fault
        except RecursionError as fault:
            raise DataError(f"{place}: this line is nested too deeply. A row has a handful of levels.") from fault
        yield place, row


def _lines(path: Path) -> Iterator[bytes]:
    """The lines as bytes, because text that models write holds characters at which text is split. Of one that is too
    long so much is read that one can see it."""
    number = 0
    try:
        with open_lines(path) as file:
            while line := file.readline(LARGEST_LINE + 1):
                yield line
                number += 1
    except (OSError, EOFError, zlib.error) as fault:
        remedy = "Compress it again." if path.suffix == ".gz" else "Look at its disk and its rights."
        raise DataError(f"{path.name}:{number + 1}: the file cannot be read on ({fault}). {remedy}") from fault
