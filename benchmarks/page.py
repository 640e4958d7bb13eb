"""Puts a section's tables where they belong in docs/benchmarks.md: between `<!-- training -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.tables import Table

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def update(section: str, machine: dict[str, Any], tables: Sequence[Table], path: Path = PAGE) -> None:
    """Replaces the tables of one section; the rest of the page stays. Raises ValueError if it has no place for it."""
    text = path.read_text(encoding="utf-8")
    block = "\n".join([_where(machine), *(table.as_markdown() for table in tables)])
    place = re.compile(rf"(<!-- {re.escape(section)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(text):
        raise ValueError(f"{path.name}: no `<!-- {section} -->` with an `<!-- end -->` after it")
    path.write_text(place.sub(lambda found: f"{found[1]}{block}\n{found[2]}", text), encoding="utf-8")


def _where(machine: dict[str, Any]) -> str:
    """One line that says what the tables below belong to."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    device = f", {machine['accelerator']}" if "accelerator" in machine else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory GB']} GB{device};"
        f" threads: {machine['threads']}; load before the start: {machine['load at the start']}."
        f" {machine['system']}; {versions}.\n"
    )
