"""The command line, as plain data. No torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.cells import SHAPES, Cell


@dataclass(frozen=True)
class Options:
    """What is measured and how often. cell: the middle of every table; ks and prompts: what varies around it."""

    cell: Cell
    ks: tuple[int, ...]
    prompts: tuple[int, ...]
    repeats: int
    steps: int
    threads: int
    trl_pairs: int | None
    variants: bool = False

    @property
    def cells(self) -> list[Cell]:
        """Every prompt length with every K."""
        return [replace(self.cell, prompt=prompt, completions_per_prompt=k) for prompt in self.prompts for k in self.ks]

    def say(self, line: str) -> None:
        """Progress, beside the tables."""
        print(line, file=sys.stderr, flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What any section may read."""
    parser.add_argument("--k", type=int, nargs="+", default=[2, 4, 8, 16], help="completions of a prompt")
    parser.add_argument(
        "--prompt", type=int, nargs="+", default=[384, 128, 1024], help="tokens; the first is the centre"
    )
    parser.add_argument("--completion", type=int, default=48, help="tokens")
    parser.add_argument("--groups", type=int, default=4, help="prompts of an optimiser step")
    parser.add_argument("--groups-per-forward", type=int, help="copgkit's micro-batch; without it, copgkit's default")
    parser.add_argument("--trl-pairs", type=int, help="pairs in a pass of TRL's; without it, the fastest is tried out")
    parser.add_argument(
        "--variants", action="store_true", help="training: also TRL as it is installed, and copgkit with train.compile"
    )
    parser.add_argument("--shape", choices=tuple(SHAPES), default="small")
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="optimiser steps of each repeat")
    parser.add_argument("--quick", action="store_true", help="the centre only, three repeats")


def read(given: argparse.Namespace) -> Options:
    """The options that the command line gave."""
    ks: Sequence[int] = (2, 8) if given.quick and len(given.k) == 4 else given.k
    prompts: Sequence[int] = given.prompt[:1] if given.quick else given.prompt
    cell = Cell(
        SHAPES[given.shape],
        prompts[0],
        given.completion,
        ks[len(ks) // 2],
        given.groups,
        given.groups_per_forward,
        given.dtype,
        given.device,
    )
    return Options(
        cell,
        tuple(ks),
        tuple(prompts),
        min(given.repeats, 3) if given.quick else given.repeats,
        given.steps,
        given.threads,
        given.trl_pairs,
        given.variants,
    )
