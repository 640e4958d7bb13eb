"""Metrics as JSON lines, one row a line, written as they come.

The file is strict JSON: a number that is not finite is written as the string "nan", "inf" or "-inf", and read back as
a number. A last line that a kill has cut off is left out when reading.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from copgkit.errors import DataError

_NOT_FINITE = {"nan", "inf", "-inf"}


class Journal:
    """Appends rows to a metrics file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, float]) -> None:
        """Writes one row and flushes it."""
        plain = {name: value if math.isfinite(value) else str(float(value)) for name, value in row.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file, in order. Raises DataError naming the line for damage anywhere but at the end."""
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as fault:
            if number == len(lines):
                break
            raise DataError(f"{path.name}:{number}: this line is not JSON ({fault}).") from fault
        rows.append({name: float(value) if value in _NOT_FINITE else value for name, value in row.items()})
    return rows
