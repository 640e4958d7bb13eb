"""The two programs by name. Each is imported when it is asked for: copgkit is measured without TRL too.

Each has a variant: TRL as it is installed computes every layer twice to save memory (gradient checkpointing) and takes
up to 8 pairs into a pass, and copgkit can have its layers compiled (`train.compile`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.material import TokenGroup
from benchmarks.timing import Side, Watch

TRL, COPGKIT = "TRL", "copgkit"
TRL_DEFAULTS, COPGKIT_COMPILED = "TRL, its defaults", "copgkit, compiled"
TRL_DEFAULT_PAIRS = 8
"""Pairs in a pass of TRL's unless it is told otherwise."""


def make_side(
    name: str, cell: Cell, folder: Path, groups: Sequence[TokenGroup], watch: Watch, pairs_per_forward: int
) -> Side:
    """The program of this name, one of the four above, ready for its first step. pairs_per_forward is TRL's
    micro-batch; its variant has its own."""
    if name in (COPGKIT, COPGKIT_COMPILED):
        from benchmarks.copgkit_training import CopgkitTraining

        return CopgkitTraining(cell, folder, groups, watch, name, compiled=name == COPGKIT_COMPILED)
    from benchmarks.trl_training import TrlPairs

    if name == TRL_DEFAULTS:
        pairs = max(count for count in range(1, TRL_DEFAULT_PAIRS + 1) if cell.pairs % count == 0)  # leaves none out
        return TrlPairs(cell, folder, groups, watch, pairs, name, checkpointing=True)
    return TrlPairs(cell, folder, groups, watch, pairs_per_forward)
