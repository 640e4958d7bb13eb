"""The two programs by name. Each is imported when it is asked for: copgkit is measured without TRL too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.material import TokenGroup
from benchmarks.timing import Side, Watch


def make_side(
    name: str, cell: Cell, folder: Path, groups: Sequence[TokenGroup], watch: Watch, pairs_per_forward: int
) -> Side:
    """The program "copgkit" or "TRL", ready for its first step. pairs_per_forward is TRL's micro-batch."""
    if name == "copgkit":
        from benchmarks.copgkit_training import CopgkitTraining

        return CopgkitTraining(cell, folder, groups, watch)
    from benchmarks.trl_training import TrlPairs

    return TrlPairs(cell, folder, groups, watch, pairs_per_forward)
