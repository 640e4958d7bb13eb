"""Finished runs, read back from their folders: what ran, what it measured and what the policy wrote.

run = read_run(Path("runs/tldr"))
run.figures["reward/mean"], run.values["objective.beta"]
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copgkit.errors import CopgkitError, DataError
from copgkit.recipe import recorded_values
from copgkit.report.summary import Interval, Row, evaluations, figures_of
from copgkit.store import read_metrics, read_samples

_NORMAL_95 = 1.96


@dataclass(frozen=True)
class FinishedRun:
    """A run by the name that readers know it by. record: run.json. values: its recipe by dotted key. rows: its metrics.
    samples: what it wrote at its last evaluation, as `samples.jsonl` holds it."""

    label: str
    record: Mapping[str, Any]
    values: Mapping[str, Any]
    rows: Sequence[Row]
    samples: Sequence[Mapping[str, Any]]

    @property
    def figures(self) -> dict[str, Interval]:
        """Its last evaluation by name without `eval/`; empty for a run that was not evaluated."""
        held = evaluations(self.rows)
        return figures_of(held[-1]) if held else {}

    @property
    def start(self) -> dict[str, Interval]:
        """Its first evaluation, that of the reference."""
        held = evaluations(self.rows)
        return figures_of(held[0]) if held else {}


def read_run(folder: Path, label: str | None = None) -> FinishedRun:
    """The run in this folder; label: its folder's name if not given. Raises CopgkitError for what is no
    finished run."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        rows = read_metrics(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
        samples = read_samples(folder / "samples.jsonl") if (folder / "samples.jsonl").exists() else []
    except (OSError, ValueError, KeyError) as fault:
        why = f"{Path(fault.filename).name}: {fault.strerror}" if isinstance(fault, OSError) else fault
        raise CopgkitError(f"{folder}: not the folder of a finished run ({why}). Run its recipe to the end.") from fault
    last = max((one["step"] for one in samples), default=0)
    values = recorded_values(folder / "resolved.yaml")
    return FinishedRun(
        label or folder.resolve().name, record, values, rows, [one for one in samples if one["step"] == last]
    )


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a run that came to its end: run.json is the last file that one writes."""
    return (folder / "run.json").is_file()


def paired_difference(one: FinishedRun, other: FinishedRun) -> Interval | None:
    """How much higher the reward of the one is than that of the other, over the prompts that both were measured on,
    with its 95 % interval; None with fewer than two of them.

    The same prompts make it less noisy than the difference of two means with intervals of their own. Of several samples
    of a prompt, the first is compared with the first, and so on.
    """
    theirs = _by_prompt(other.samples)
    gains = [
        sample["reward"] - theirs[key]["reward"]
        for key, sample in _by_prompt(one.samples).items()
        if key in theirs and sample["reward"] is not None and theirs[key]["reward"] is not None
    ]
    if len(gains) < 2:
        return None
    mean, half = statistics.fmean(gains), _NORMAL_95 * statistics.stdev(gains) / math.sqrt(len(gains))
    return Interval(mean, mean - half, mean + half)


def _by_prompt(samples: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    """Samples by what they answer: the id and text of their prompt, and how many of it came before."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for sample in samples:
        prompt = (sample["id"], json.dumps(sample["prompt"]))
        found[*prompt, seen[prompt]] = sample
        seen[prompt] += 1
    return found


def require_several(folders: Sequence[Path]) -> list[FinishedRun]:
    """The runs in these folders, by names that tell them apart. Raises CopgkitError for one that is no finished run,
    and DataError for fewer than two."""
    if len({folder.resolve() for folder in folders}) < 2:
        raise DataError("compare: give at least two run folders, each once.")
    return [read_run(folder, label) for folder, label in zip(folders, _labels(folders), strict=True)]


def _labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(path[-length:]) for path in parts]
        if len(set(labels)) == len(labels):
            break
    return labels
