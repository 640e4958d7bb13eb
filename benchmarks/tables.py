"""Results as a table on the terminal, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Table:
    """Rows of text under named columns. records: the same with every figure that was measured, for the JSON file."""

    title: str
    columns: Sequence[str]
    note: str = ""
    rows: list[Sequence[str]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Sequence[str], record: dict[str, Any]) -> None:
        """One more row. Raises ValueError if it has not one cell for each column."""
        if len(row) != len(self.columns):
            raise ValueError(f"{self.title}: {len(row)} cells for {len(self.columns)} columns")
        self.rows.append(row)
        self.records.append(record)

    def as_text(self) -> str:
        """Columns aligned, for a terminal."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]
        written = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([self.title, *written, *([self.note] if self.note else [])])

    def as_markdown(self) -> str:
        """A heading, the table and the note."""
        head = [_line(self.columns), _line(["---"] * len(self.columns))]
        parts = [f"#### {self.title}", "\n".join([*head, *map(_line, self.rows)]), self.note]
        return "\n\n".join(part for part in parts if part) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
