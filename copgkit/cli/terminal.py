"""Plain text for terminals: aligned columns, wrapped at the width of the window, dimmed where that is wanted."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

GAP = "  "


def colour() -> bool:
    """Whether standard output takes colours: a terminal, and NO_COLOR is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour() else text


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if colour() else text


def width() -> int:
    """The width of the window, at most 140; 120 where there is none."""
    return min(shutil.get_terminal_size((120, 24)).columns, 140)


def columns(rows: Sequence[Sequence[str]], indent: str = "", right: Sequence[int] = ()) -> list[str]:
    """The rows as aligned lines. The last column is wrapped; columns in `right` are set flush right."""
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    start = len(indent) + sum(widths) + len(GAP) * len(widths)
    room = max(width() - start, 30)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(size) if index in right else cell.ljust(size)
            for index, (cell, size) in enumerate(zip(row, widths, strict=False))
        ]
        wrapped = textwrap.wrap(row[-1], room, break_on_hyphens=False) or [""]
        lines.append((indent + GAP.join([*cells, wrapped[0]])).rstrip())
        lines += [" " * start + rest for rest in wrapped[1:]]
    return lines


def wrapped(text: str) -> list[str]:
    """A paragraph in lines of the window's width, at most 100 characters."""
    return textwrap.wrap(text, min(width(), 100), break_on_hyphens=False)


def as_yaml(value: Any) -> str:
    """A value as a recipe would hold it, on one line."""
    if isinstance(value, str) and value and value == value.strip() and not set(value) & set("\n:#{}[],\"'"):
        return value
    return json.dumps(value, ensure_ascii=False)


def amount(value: int | None, unit: str) -> str:
    """A number for people: 1,024 or 3.2 GB; "unknown" for None."""
    if value is None:
        return "unknown"
    if unit != "bytes":
        return f"{value:,}"
    for size, name in ((10**9, "GB"), (10**6, "MB")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{max(value // 1000, 1)} kB"


def print_json(data: Any) -> None:
    """Prints data as indented JSON, null for a number that is not finite: JSON has no word for those."""
    print(json.dumps(_finite(data), indent=2, ensure_ascii=False, default=str, allow_nan=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
