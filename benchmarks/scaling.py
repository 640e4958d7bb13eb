"""How copgkit's training step grows with prompts, completions, their length and the vocabulary, one at a time.

All points of an axis take their steps in turn within one process, so that they can be compared. Growth is the step's
time over that of the axis's first point; "work" is the growth of the operations that the step needs.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.cells import Cell
from benchmarks.copgkit_training import CopgkitTraining
from benchmarks.flops import shared_prompt_flops
from benchmarks.material import draw_groups, model_folder
from benchmarks.options import Options
from benchmarks.tables import Table
from benchmarks.timing import Elapsed, Spread, Stopwatch, interleave, ratios


def measure(options: Options) -> list[Table]:
    """One table; an axis is a few rows of it."""
    table = Table(
        "Growth of copgkit's training step",
        ("axis", "value", "step, s", "ms/completion", "growth", "work", "GFLOP/s"),
        note="Bar: from K = 2 to K = 16 at prompt 1,024 a step grows by at most 1.6.",
    )
    for axis, points in axes(options).items():
        options.say(f"scaling: {axis}")
        measured = _take_turns(points, options)
        first, *_ = points
        for value, cell in points.items():
            steps = measured[value]
            table.add(_row(axis, value, cell, points[first], steps, measured[first]), _record(axis, value, cell, steps))
    return [table]


def axes(options: Options) -> dict[str, dict[str, Cell]]:
    """The points of each axis: the centre with one thing changed."""
    centre = options.cell
    longest = replace(centre, prompt=max(options.prompts))

    def shaped(vocabulary: int) -> Cell:
        return replace(centre, shape=replace(centre.shape, vocabulary=vocabulary))

    return {
        f"K at prompt {longest.prompt}": {str(k): replace(longest, completions_per_prompt=k) for k in options.ks},
        "prompts in a step": {str(groups): replace(centre, groups=groups) for groups in (1, 2, 4, 8)},
        "completion, tokens": {str(length): replace(centre, completion=length) for length in (16, 48, 144)},
        "vocabulary": {str(size): shaped(size) for size in (8_000, 32_000, 128_000)},
    }


def _take_turns(points: dict[str, Cell], options: Options) -> dict[str, list[Elapsed]]:
    """Mean step of each repeat, by point."""
    with ExitStack() as folders:
        sides = []
        for value, cell in points.items():
            folder = folders.enter_context(model_folder(cell.shape, cell.prompt + cell.completion))
            groups = draw_groups(cell, cell.groups)
            sides.append(CopgkitTraining(cell, folder, groups, Stopwatch(cell.device), name=value))
        measured = interleave(sides, options.repeats, options.steps, options.say)
    del sides
    gc.collect()
    return measured


def _row(
    axis: str, value: str, cell: Cell, first: Cell, steps: Sequence[Elapsed], first_steps: Sequence[Elapsed]
) -> list[str]:
    wall = [step.wall for step in steps]
    return [
        axis,
        value,
        Spread.of(wall).shown(),
        Spread.of([1000 * seconds / cell.completions for seconds in wall]).shown(),
        ratios(wall, [step.wall for step in first_steps]).shown(),
        f"{shared_prompt_flops(cell) / shared_prompt_flops(first):.2f}",
        Spread.of([shared_prompt_flops(cell) / seconds / 1e9 for seconds in wall]).shown(),
    ]


def _record(axis: str, value: str, cell: Cell, steps: Sequence[Elapsed]) -> dict[str, object]:
    return {
        "axis": axis,
        "value": value,
        "seconds a step": [step.wall for step in steps],
        "processor seconds a step": [step.cpu for step in steps],
        "operations needed": shared_prompt_flops(cell),
    }
