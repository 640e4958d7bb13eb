"""A whole on-policy step of copgkit and of TRL's `RLOOTrainer`: generate, score, reference, train; one after the other.

The model, the prompts, the number and largest length of completions and the reward are the same. What each writes
differs, since each draws its own random numbers; a model with random weights almost never ends a completion early.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.copgkit_on_policy import CopgkitOnPolicy
from benchmarks.material import TokenGroup, draw_groups, model_folder
from benchmarks.options import Options
from benchmarks.tables import Table
from benchmarks.timing import Elapsed, Side, Spread, Stopwatch, interleave, ratios
from benchmarks.training import LARGEST_PASS


def measure(options: Options) -> list[Table]:
    """A row for each K at the centre's prompt."""
    table = Table(
        "On-policy step for each completion: generate, score, reference, train",
        ("prompt", "K", "TRL, s", "copgkit, s", "TRL / copgkit", "in processor time", "TRL's completions in a pass"),
    )
    for k in options.ks:
        cell = replace(options.cell, completions_per_prompt=k)
        options.say(f"on-policy: prompt {cell.prompt}, K = {k}")
        in_pass, steps = _compare(cell, options)
        wall, cpu = (
            {name: [step[kind] / cell.completions for step in taken] for name, taken in steps.items()}
            for kind in (0, 1)
        )
        table.add(
            [
                str(cell.prompt),
                str(k),
                *(Spread.of(wall[name]).shown() for name in ("TRL", "copgkit")),
                *(ratios(seconds["TRL"], seconds["copgkit"]).shown() for seconds in (wall, cpu)),
                str(in_pass),
            ],
            {"prompt": cell.prompt, "K": k, "seconds a completion": wall, "processor seconds a completion": cpu},
        )
    return [table]


def _compare(cell: Cell, options: Options) -> tuple[int, dict[str, list[Elapsed]]]:
    """Completions in a pass of TRL's, and steps of both in turn."""
    with model_folder(cell.shape, cell.prompt + cell.completion) as folder:
        groups = draw_groups(cell, cell.groups * (options.steps + 1))
        seconds = {size: _trial(cell, folder, groups, size) for size in _passes(cell)}
        options.say("  TRL by completions in a pass: " + ", ".join(f"{size}: {s:.2f} s" for size, s in seconds.items()))
        in_pass = min(seconds, key=seconds.__getitem__)
        sides: list[Side] = [
            _trl(cell, folder, groups, in_pass),
            CopgkitOnPolicy(cell, folder, groups, Stopwatch(cell.device)),
        ]
        steps = interleave(sides, options.repeats, options.steps, options.say)
    del sides
    gc.collect()
    return in_pass, steps


def _passes(cell: Cell) -> list[int]:
    """Completions in a pass that are tried: a group's, and a step's if it fits into memory."""
    sizes = {cell.completions_per_prompt, cell.completions}
    return [size for size in sorted(sizes) if size * (cell.prompt + cell.completion) <= LARGEST_PASS] or [1]


def _trial(cell: Cell, folder: Path, groups: list[TokenGroup], in_pass: int) -> float:
    side = _trl(cell, folder, groups, in_pass)
    side.run(1)
    took: Elapsed = side.run(1)[0]
    del side
    gc.collect()
    return took.cpu if cell.device == "cpu" else took.wall


def _trl(cell: Cell, folder: Path, groups: list[TokenGroup], in_pass: int) -> Side:
    from benchmarks.trl_on_policy import TrlOnPolicy

    return TrlOnPolicy(cell, folder, groups, Stopwatch(cell.device), in_pass)
