"""Where the time of a training step goes, by timers around real calls of `align`; bar: 3 % for the loop itself.

forward: the policy's module. backward: the accelerator's. clipping: torch's norm and scaling of all gradients.
optimiser: its step. loop: everything else between the ends of two steps, which is putting tensors together, the loss,
metrics, the schedule and letting go of gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim import optimizer as optimisers

from benchmarks.cells import Cell
from benchmarks.copgkit_training import CopgkitTraining
from benchmarks.material import draw_groups, model_folder
from benchmarks.options import Options
from benchmarks.tables import Table
from benchmarks.timing import Spread, Stopwatch

PARTS = ("forward", "backward", "clipping", "optimiser")


@dataclass
class Timers:
    """A stopwatch of steps that also adds up the seconds of their parts. A part within a part is not counted twice."""

    device: str
    laps: list[dict[str, float]] = field(default_factory=list)
    _seconds: dict[str, float] = field(default_factory=dict)
    _depth: int = 0
    _entered: float = 0.0
    _last: float = 0.0

    def start(self) -> None:
        """Begins a new series of laps."""
        self.laps.clear()
        self._begin()

    def lap(self) -> None:
        """Ends a lap: the seconds of each part, and of the whole step as "step"."""
        self.laps.append(self._seconds | {"step": self._now() - self._last})
        self._begin()

    def enter(self) -> None:
        """A part begins."""
        if not self._depth:
            self._entered = self._now()
        self._depth += 1

    def leave(self, part: str) -> None:
        """It ends."""
        self._depth -= 1
        if not self._depth:
            self._seconds[part] += self._now() - self._entered

    def around(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            self.enter()
            try:
                return call(*given, **named)
            finally:
                self.leave(part)

        return timed

    def _begin(self) -> None:
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._last = self._now()

    def _now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(options: Options) -> list[Table]:
    """One row for the smallest and one for the largest K at the centre's prompt."""
    table = Table(
        "Where the time of copgkit's training step goes",
        ("prompt", "K", "step, s", *(f"{part}, %" for part in PARTS), "loop, %"),
        note="The bar for the loop is 3 %.",
    )
    for k in options.ks:
        cell = Cell(**{**vars(options.cell), "completions_per_prompt": k})
        options.say(f"loop: prompt {cell.prompt}, K = {k}")
        laps = time_parts(cell, options.repeats)
        step = Spread.of([lap["step"] for lap in laps])
        shares = [Spread.of([share(lap, part) for lap in laps]).shown(".1f") for part in (*PARTS, "loop")]
        table.add([str(cell.prompt), str(k), step.shown(), *shares], {"prompt": cell.prompt, "K": k, "steps": laps})
    return [table]


def share(lap: dict[str, float], part: str) -> float:
    """Percent of the step that a part took; of "loop", what no part took."""
    seconds = lap["step"] - sum(lap[name] for name in PARTS) if part == "loop" else lap[part]
    return 100 * seconds / lap["step"]


def time_parts(cell: Cell, steps: int) -> list[dict[str, float]]:
    """Seconds of each part of so many steps, after two that are not counted."""
    timers = Timers(cell.device)
    with model_folder(cell.shape, cell.prompt + cell.completion) as folder:
        side = CopgkitTraining(cell, folder, draw_groups(cell, cell.groups), Stopwatch(cell.device))
        side.run(1)
        side.watch = timers
        with _attached(timers, side.policy.module) as accelerator:
            return list(side.run(steps, accelerator))


@contextmanager
def _attached(timers: Timers, module: torch.nn.Module) -> Iterator[Accelerator]:
    """Timers on everything that torch does for a step; gives an accelerator whose backward pass is timed."""
    accelerator = Accelerator()
    accelerator.backward = timers.around("backward", accelerator.backward)
    clip = torch.nn.utils.clip_grad_norm_
    torch.nn.utils.clip_grad_norm_ = timers.around("clipping", clip)
    hooks: Sequence[Any] = (
        module.register_forward_pre_hook(lambda module, given: timers.enter()),
        module.register_forward_hook(lambda module, given, output: timers.leave("forward")),
        optimisers.register_optimizer_step_pre_hook(lambda optimiser, given, named: timers.enter()),
        optimisers.register_optimizer_step_post_hook(lambda optimiser, given, named: timers.leave("optimiser")),
    )
    try:
        yield accelerator
    finally:
        torch.nn.utils.clip_grad_norm_ = clip
        for hook in hooks:
            hook.remove()
