"""JSON, one value a line: strict, whole, and readable whatever text a completion holds.

Strict JSON has no NaN, and text from a model may hold line separators or halves of a character; both break naive
readers, so every JSONL file of a run is written and read here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from copgkit.errors import DataError

_NOT_FINITE = {"nan", "inf", "-inf"}


def to_line(row: Mapping[str, Any]) -> str:
    """The row as one line of strict JSON, newline included; numbers keep every digit.

    Raises ValueError for NaN and infinity. What JSON has no form for is written as its text.
    """
    line = json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
    if not line.isprintable():
        # Lone surrogates cannot be written as UTF-8, and U+2028 ends a line for many readers: escape what is not plain.
        line = json.dumps(row, allow_nan=False, default=str)
    return line + "\n"


def read_lines(path: Path, tolerate_cut_end: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gives (place, row) for every line, place being "file:line". Raises DataError for one that is no JSON object.

    tolerate_cut_end: leave out a damaged last line, which a killed run may have cut off.
    """
    damage: DataError | None = None
    with path.open("rb") as file:  # bytes are split at line feeds alone, text at much that a completion may hold
        for number, line in enumerate(file, start=1):
            if damage is not None:
                raise damage
            place = f"{path.name}:{number}"
            try:
                row = json.loads(line.decode("utf-8"), parse_constant=_refuse)
                if not isinstance(row, dict):
                    raise ValueError(f"it holds a {type(row).__name__}, not an object")
            except (ValueError, RecursionError) as fault:
                damage = DataError(f"{place}: the line is not strict JSON ({fault}). Remove or mend the line.")
                continue
            yield place, row
    if damage is not None and not tolerate_cut_end:
        raise damage


def number_out(value: float) -> float | str:
    """A number as strict JSON takes it: "nan", "inf" or "-inf" for one that is not finite."""
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else str(float(value))


def number_in(value: Any) -> Any:
    """The inverse of number_out."""
    return float(value) if isinstance(value, str) and value in _NOT_FINITE else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
