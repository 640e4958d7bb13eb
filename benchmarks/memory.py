"""Peak memory of a training step above weights and optimiser, for each completion that is in the pass.

Each figure comes from a process of its own. On a CPU: resident memory right after a step, when weights and the
optimiser's state are all that is left and what was freed has been given back to the system, is taken from the highest
resident memory during the next step (Linux keeps it, and lets a process set it back). On a GPU: the same with what
torch has allocated. Gradients are among what a step needs. Both programs take the same completions in a pass.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell, Shape
from benchmarks.options import Options
from benchmarks.tables import Table
from benchmarks.training import passes

_STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
"""glibc gives blocks of a megabyte back as soon as they are free, so that resident memory is memory in use."""


def measure(options: Options) -> list[Table]:
    """A row for each cell: a step in one pass, where TRL's fits into memory, and a group in each pass."""
    table = Table(
        "Peak memory of a training step above weights and optimiser, for each completion in a pass",
        ("prompt", "K", "groups in a pass", "TRL, MB", "copgkit, MB", "TRL / copgkit"),
    )
    for cell in options.cells:
        for groups, pairs in ((cell.groups, cell.pairs), (1, cell.completions_per_prompt // 2)):
            if pairs not in passes(cell):
                continue
            options.say(f"memory: prompt {cell.prompt}, K = {cell.completions_per_prompt}, {groups} groups in a pass")
            used = {
                name: peak(name, replace(cell, groups_per_forward=groups), pairs, options.threads)
                for name in ("TRL", "copgkit")
            }
            each = {name: size / (2 * pairs) / 1e6 for name, size in used.items()}
            options.say("  " + ", ".join(f"{name}: {size:.1f} MB a completion" for name, size in each.items()))
            place = {"prompt": cell.prompt, "completions per prompt": cell.completions_per_prompt, "groups": groups}
            table.add(
                [
                    *(str(value) for value in place.values()),
                    f"{each['TRL']:.1f}",
                    f"{each['copgkit']:.1f}",
                    f"{each['TRL'] / each['copgkit']:.2f}",
                ],
                place | {"bytes above weights and optimiser": used},
            )
    return [table]


def peak(side: str, cell: Cell, pairs_per_forward: int, threads: int, steps: int = 1) -> int:
    """Bytes that a step of "copgkit" or "TRL" needs at its highest, above weights and optimiser: the highest of so
    many steps after the first ones. Raises RuntimeError with what the process said if it fails."""
    task = {"side": side, "cell": asdict(cell), "pairs_per_forward": pairs_per_forward, "steps": steps}
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", json.dumps(task)],
        env=os.environ | _ALLOCATOR | {"OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"the memory of {side} could not be measured:\n{finished.stderr[-2000:]}")
    return int(finished.stdout.splitlines()[-1])


class HighWater:
    """A stopwatch for memory: each lap is the highest use since the last one, above what was in use then."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.laps: list[int] = []
        self._floor = 0

    def start(self) -> None:
        """Begins a new series of laps."""
        self.laps.clear()
        self._floor = self._settle()

    def lap(self) -> None:
        """Ends a lap and begins the next."""
        self.laps.append(self._highest() - self._floor)
        self._floor = self._settle()

    def _highest(self) -> int:
        if self.device != "cpu":
            import torch

            return int(torch.cuda.max_memory_allocated())
        return _status("VmHWM")

    def _settle(self) -> int:
        """Gives back what is free and sets the mark back; what is in use now."""
        gc.collect()
        if self.device != "cpu":
            import torch

            torch.cuda.reset_peak_memory_stats()
            return int(torch.cuda.memory_allocated())
        ctypes.CDLL(None).malloc_trim(0)
        RESET.write_text("5", encoding="ascii")
        return _status("VmRSS")


def _status(name: str) -> int:
    line = next(line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _measure(task: dict[str, Any]) -> int:
    from benchmarks.material import draw_groups, model_folder
    from benchmarks.sides import make_side

    cell = Cell(**task["cell"] | {"shape": Shape(**task["cell"]["shape"])})
    with model_folder(cell.shape, cell.prompt + cell.completion) as folder:
        groups = draw_groups(cell, cell.groups)
        side = make_side(task["side"], cell, folder, groups, HighWater(cell.device), task["pairs_per_forward"])
        side.run(1)
        highest: int = max(side.run(task["steps"]))
    return highest


if __name__ == "__main__":
    print(_measure(json.loads(sys.argv[1])))
