"""Metrics as JSON lines, one row a line, written as they come.

The file is strict JSON: a number that is not finite is written as the string "nan", "inf" or "-inf", and read back as
a number. A last line that a kill has cut off is left out when reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from copgkit.store.json_lines import number_in, number_out, read_lines, to_line


class Journal:
    """Appends rows to a metrics file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Mapping[str, float]) -> None:
        """Writes one row and flushes it, so that a killed run keeps all rows but at most the last."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(to_line({name: number_out(value) for name, value in row.items()}))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file, in order. Raises DataError naming the line for damage anywhere but at the end."""
    return [
        {name: number_in(value) for name, value in row.items()} for _, row in read_lines(path, tolerate_cut_end=True)
    ]
