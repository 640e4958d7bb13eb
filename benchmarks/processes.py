"""Several processes against one with as many threads: `copgkit run --processes N` on recorded groups.

All cores are used either way. The figures are those that the run writes down for each step, but for its first; they
leave out starting, loading and the reference's pass. Bar: two processes are no slower for each completion.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.material import TokenGroup, draw_groups, model_folder, text_of
from benchmarks.options import Options
from benchmarks.tables import Table
from benchmarks.timing import Spread, ratios

STEPS = 4
"""Of each run; the first is not counted."""


def measure(options: Options) -> list[Table]:
    """A row for each number of processes, up to one for each thread."""
    cell, counts = options.cell, sorted({1, 2, options.threads} & set(range(1, options.threads + 1)))
    table = Table(
        f"Processes: a training step at prompt {cell.prompt}, K = {cell.completions_per_prompt}",
        ("processes", "threads of each", "ms/completion", "time of one process / this"),
        note="Bar: two processes are no slower for each completion.",
    )
    taken: dict[int, list[float]] = {count: [] for count in counts}
    with model_folder(cell.shape, cell.prompt + cell.completion) as folder:
        recipe = write_recipe(cell, folder, draw_groups(cell, cell.groups))
        for repeat in range(options.repeats):
            for count in counts if repeat % 2 == 0 else reversed(counts):
                seconds = Spread.of(seconds_per_completion(recipe, cell, count, options.threads)).median
                options.say(f"  {repeat + 1}/{options.repeats} {count} processes: {1000 * seconds:.1f} ms a completion")
                taken[count].append(seconds)
    for count, seconds_of_repeats in taken.items():
        table.add(
            [
                str(count),
                str(options.threads // count),
                Spread.of([1000 * seconds for seconds in seconds_of_repeats]).shown(),
                ratios(taken[1], seconds_of_repeats).shown(),
            ],
            {"processes": count, "seconds a completion": seconds_of_repeats},
        )
    return [table]


def write_recipe(cell: Cell, folder: Path, groups: Sequence[TokenGroup]) -> Path:
    """A recipe that trains on these groups for STEPS steps, with its data, beside the model."""
    rows = [
        {
            "prompt": text_of(group.prompt),
            "completions": [
                {"text": text_of(ids), "scores": {"r": reward}}
                for ids, reward in zip(group.completions, group.rewards, strict=True)
            ],
        }
        for group in groups
    ]
    (folder / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sections = {
        "policy": {"model": ".", "max_prompt_tokens": cell.prompt, "max_completion_tokens": cell.completion},
        "prompts": {"use": "jsonl", "options": {"path": "groups.jsonl"}},
        "sampler": {"use": "recorded"},
        "rewards": [{"use": "recorded", "options": {"column": "r"}}],
        "scoring": {"store": None},
        "train": {"groups_per_step": cell.groups, "epochs": STEPS, "schedule": "constant", "warmup": 0},
    }
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(sections), encoding="utf-8")  # JSON is YAML
    return recipe


def seconds_per_completion(recipe: Path, cell: Cell, processes: int, threads: int) -> list[float]:
    """Of each step but the first. Raises RuntimeError with what the run said if it fails."""
    output = recipe.parent / "run"
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "copgkit",
            "run",
            str(recipe),
            "--processes",
            str(processes),
            "--output",
            str(output),
            "--fresh",
        ],
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "COPGKIT_CACHE": str(recipe.parent / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"{processes} processes failed:\n{finished.stderr[-2000:]}")
    written = Path(finished.stdout.splitlines()[-1]) / "timing.jsonl"
    rows = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    rates = [row["train/tokens-per-second/value"] for row in rows if "train/tokens-per-second/value" in row]
    return [cell.completion / rate for rate in rates[1:]]
