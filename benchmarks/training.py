"""Training steps of copgkit and TRL beside each other: seconds for each completion, and operations a second.

Steps take turns within one process, on the same model, with the same completions. TRL's pairs go through the model in
as many passes as make it fastest here: one for the step, one for each group or one for each pair, tried out before the
clock starts.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.flops import repeated_prompt_flops, shared_prompt_flops
from benchmarks.machine import matmul_flops_per_second
from benchmarks.material import draw_groups, model_folder
from benchmarks.options import Options
from benchmarks.sides import COPGKIT, COPGKIT_COMPILED, TRL, TRL_DEFAULTS, make_side
from benchmarks.tables import Table
from benchmarks.timing import Elapsed, Spread, Stopwatch, interleave, ratios

LARGEST_PASS = 16_384
"""Tokens of the largest pass of TRL's that is tried: at 8 layers of 512 in float32 one such takes 12 GB."""


@dataclass(frozen=True)
class Measured:
    """Steps of both programs by name, pairs in a pass of TRL's, and the machine's matrix products before and after."""

    cell: Cell
    steps: dict[str, list[Elapsed]]
    pairs_per_forward: int
    ceilings: Sequence[float]

    def wall(self, name: str) -> list[float]:
        """Seconds a completion of each repeat."""
        return [step.wall / self.cell.completions for step in self.steps[name]]

    def cpu(self, name: str) -> list[float]:
        """Processor seconds a completion of each repeat."""
        return [step.cpu / self.cell.completions for step in self.steps[name]]

    def rates(self, name: str) -> list[float]:
        """Operations a second of each repeat: those that the program's form of the step needs."""
        needed = repeated_prompt_flops(self.cell) if name in (TRL, TRL_DEFAULTS) else shared_prompt_flops(self.cell)
        return [needed / step.wall for step in self.steps[name]]

    def record(self) -> dict[str, object]:
        """Everything, for the JSON file."""
        cell, names = self.cell, list(self.steps)
        return {
            "prompt": cell.prompt,
            "completion": cell.completion,
            "completions per prompt": cell.completions_per_prompt,
            "groups": cell.groups,
            "pairs in a pass of TRL": self.pairs_per_forward,
            "seconds a completion": {name: self.wall(name) for name in names},
            "processor seconds a completion": {name: self.cpu(name) for name in names},
            "operations a second": {name: self.rates(name) for name in names},
            "ceiling, operations a second": list(self.ceilings),
        }


def measure(options: Options) -> list[Table]:
    """Tables with a row for each cell: time, operations and, if wanted, the variants."""
    times = Table(
        "Time of a training step for each completion",
        ("prompt", "K", "TRL, s", "copgkit, s", "TRL / copgkit", "in processor time", "TRL's pairs in a pass"),
    )
    operations = Table(
        "Operations a second in a training step",
        ("prompt", "K", "TRL, GFLOP/s", "copgkit, GFLOP/s", "ceiling, GFLOP/s", "copgkit of ceiling"),
        note="Needed by the form of the step that the program takes: TRL's has a prompt for each completion.",
    )
    variants = Table(
        "Time of a training step for each completion, by other settings",
        ("prompt", "K", "TRL, its defaults, s", "it / copgkit", "copgkit, compiled, s", "TRL / it", "of ceiling"),
        note="In the same repeats. TRL's defaults: gradient checkpointing, up to 8 pairs in a pass.",
    )
    for cell in options.cells:
        options.say(f"prompt {cell.prompt}, K = {cell.completions_per_prompt}")
        measured = compare(cell, options)
        place = (str(cell.prompt), str(cell.completions_per_prompt))
        times.add((*place, *_time_row(measured)), measured.record())
        operations.add((*place, *_operations_row(measured)), measured.record())
        if options.variants:
            variants.add((*place, *_variants_row(measured)), measured.record())
    return [times, operations, variants] if options.variants else [times, operations]


def compare(cell: Cell, options: Options) -> Measured:
    """Steps of both in turn, and of their variants."""
    names = (TRL, COPGKIT, TRL_DEFAULTS, COPGKIT_COMPILED) if options.variants else (TRL, COPGKIT)
    ceilings = [matmul_flops_per_second(cell.device, cell.dtype)]
    with model_folder(cell.shape, cell.prompt + cell.completion) as folder:
        pairs = options.trl_pairs or fastest_pass(cell, folder, options.say)
        groups = draw_groups(cell, cell.groups * options.steps)
        sides = [make_side(name, cell, folder, groups, Stopwatch(cell.device), pairs) for name in names]
        steps = interleave(sides, options.repeats, options.steps, options.say)
    del sides
    gc.collect()
    ceilings.append(matmul_flops_per_second(cell.device, cell.dtype))
    return Measured(cell, steps, pairs, ceilings)


def fastest_pass(cell: Cell, folder: Path, say: Callable[[str], None]) -> int:
    """Pairs in a pass with which a step of TRL is fastest, of those that fit into memory."""
    candidates = passes(cell)
    if len(candidates) == 1:
        return candidates[0]
    seconds = {pairs: _trial(cell, folder, pairs) for pairs in candidates}
    say("  TRL by pairs in a pass: " + ", ".join(f"{pairs}: {took:.2f} s" for pairs, took in seconds.items()))
    return min(seconds, key=seconds.__getitem__)


def passes(cell: Cell) -> list[int]:
    """Pairs in a pass that are tried: one, a group's, a step's; those of at most LARGEST_PASS tokens, or one."""
    candidates = sorted({1, cell.completions_per_prompt // 2, cell.pairs})
    return [pairs for pairs in candidates if pairs == 1 or 2 * pairs * (cell.prompt + cell.completion) <= LARGEST_PASS]


def _trial(cell: Cell, folder: Path, pairs: int) -> float:
    """Seconds of the first step, the reference's pass before it being the warm-up; on a CPU those of the processor,
    which others disturb less."""
    side = make_side("TRL", cell, folder, draw_groups(cell, cell.groups), Stopwatch(cell.device), pairs)
    took: Elapsed = side.run(1)[0]
    del side
    gc.collect()
    return took.cpu if cell.device == "cpu" else took.wall


def _time_row(measured: Measured) -> list[str]:
    return [
        *(Spread.of(measured.wall(name)).shown() for name in (TRL, COPGKIT)),
        ratios(measured.wall(TRL), measured.wall(COPGKIT)).shown(),
        ratios(measured.cpu(TRL), measured.cpu(COPGKIT)).shown(),
        str(measured.pairs_per_forward),
    ]


def _operations_row(measured: Measured) -> list[str]:
    giga = {name: Spread.of([rate / 1e9 for rate in measured.rates(name)]) for name in (TRL, COPGKIT)}
    ceiling = f"{max(measured.ceilings) / 1e9:.0f}"
    return [giga[TRL].shown(), giga[COPGKIT].shown(), ceiling, _share_of_ceiling(measured, COPGKIT)]


def _variants_row(measured: Measured) -> list[str]:
    defaults, compiled = measured.wall(TRL_DEFAULTS), measured.wall(COPGKIT_COMPILED)
    return [
        Spread.of(defaults).shown(),
        ratios(defaults, measured.wall(COPGKIT)).shown(),
        Spread.of(compiled).shown(),
        ratios(measured.wall(TRL), compiled).shown(),
        _share_of_ceiling(measured, COPGKIT_COMPILED),
    ]


def _share_of_ceiling(measured: Measured, name: str) -> str:
    share = Spread.of([100 * rate / max(measured.ceilings) for rate in measured.rates(name)])
    return f"{share.shown('.0f')} %"
