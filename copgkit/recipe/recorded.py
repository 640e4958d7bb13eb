"""What a run folder's `resolved.yaml` says, as flat values; no plugin needs to be installed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copgkit.recipe.reading import dotted, leaves, read_document


def recorded_values(path: Path) -> dict[str, Any]:
    """Every value of a resolved recipe by its dotted key, in order. Raises RecipeError for a file that cannot be
    read."""
    return {dotted(key): value for key, value in leaves(read_document(path, str(path)).data)}


def beta_of(path: Path) -> float | None:
    """The objective's beta in a resolved recipe; None where there is no such file."""
    return recorded_values(path).get("objective.beta") if path.is_file() else None
