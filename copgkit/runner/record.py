"""What a run leaves to be read: the record of what ran, the model card and the report."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from copgkit.components import Context
from copgkit.plugin_code import code_digest
from copgkit.recipe import ResolvedRecipe, to_yaml
from copgkit.report import Summary, model_card, summarise, write_report
from copgkit.runner.identity import named_paths
from copgkit.runner.log import Log
from copgkit.runner.parts import Parts
from copgkit.store import RunFolder, collect, read_metrics, read_samples
from copgkit.types import Sample


@dataclass(frozen=True)
class RunResult:
    """What a run gave. folder holds model, report, metrics, groups and samples; rows are the metrics as logged, timings
    the figures that depend on the clock or on what a store held already."""

    folder: Path
    steps: int
    summary: Summary
    warnings: Sequence[str]
    rows: Sequence[Mapping[str, float]]
    timings: Sequence[Mapping[str, float]] = ()


def record_of(parts: Parts, log: Log, summary: Summary, started: datetime, warnings: Sequence[str]) -> dict[str, Any]:
    """What run.json says: what ran, on what, with which result. Every process has to ask."""
    import torch

    from copgkit.engine import ranks

    resolved = parts.resolved
    values = dict(resolved.values())
    changed = {key: str(value) for key, value in values.items() if resolved.origins.get(key) == "--set"}
    return collect(resolved.path, named_paths(resolved), resolved.recipe.seed, started) | {
        "result": summary.headline,
        "steps": log.step,
        "overrides": changed,
        "models": _revisions(resolved, values),
        "code": {part.key: code_digest(part.registered.cls) for part in resolved.parts},
        "components": {part.key: f"{part.registered.name} ({part.registered.owner})" for part in resolved.parts},
        "found": parts.found(),
        "device": str(parts.accelerator.device),
        "processes": ranks.count(),
        "threads": torch.get_num_threads(),
        "warnings": list(warnings),
        "scoring": parts.panel.record(),
        "reference": parts.moving_reference.record(),
        "speed": _speed(log),
    }


def finished_result(folder: RunFolder) -> RunResult:
    """What a run gave that was finished in this folder."""
    record = json.loads((folder.path / "run.json").read_text(encoding="utf-8"))
    rows = read_metrics(folder.metrics)
    samples = read_samples(folder.samples) if folder.samples.exists() else []
    rewards = [one["reference_reward"] for one in samples if one["step"] == samples[0]["step"]]
    summary = summarise(rows, [reward for reward in rewards if reward is not None])
    timings = read_metrics(folder.timing) if folder.timing.exists() else []
    return RunResult(folder.path, record["steps"], summary, tuple(record["warnings"]), rows, timings)


def write_outcome(
    folder: RunFolder, parts: Parts, log: Log, samples: Sequence[Sample], summary: Summary, record: Mapping[str, Any]
) -> None:
    """Writes the model card, the report and, last, run.json: a run that has it is finished."""
    resolved = parts.resolved
    if resolved.recipe.policy.use == "causal-lm":
        card = model_card(summary, record, *_base_model(resolved), to_yaml(resolved))
        folder.write_model_card(card)
    write_report(
        folder,
        log.rows,
        samples,
        parts.examination.reference_samples,
        summary,
        record["warnings"],
        record,
        [figure for evaluator in parts.evaluators for figure in evaluator.figures()],
    )
    folder.write_run_json(record)


def _revisions(resolved: ResolvedRecipe, values: Mapping[str, Any]) -> dict[str, str]:
    """The commit of every hub model that the recipe names; folders are among the hashes."""
    context = Context(folder=resolved.folder)
    named = {key: value for key, value in values.items() if key.endswith(".model") and isinstance(value, str)}
    commits = {
        key: context.commit(value, values.get(f"{key.removesuffix('model')}revision")) for key, value in named.items()
    }
    return {key: f"{named[key]} {commit}" for key, commit in commits.items() if commit is not None}


def _base_model(resolved: ResolvedRecipe) -> tuple[str, bool]:
    """The model that training began with, and whether it is one of a hub."""
    base: str = resolved.recipe.policy.model  # type: ignore[union-attr]
    return base, not Context(folder=resolved.folder).path(base).exists()


def _speed(log: Log) -> dict[str, float]:
    """The median rate of the steps that were logged."""
    name = "train/tokens-per-second/value"
    rates = [row[name] for row in log.timings if name in row]
    return {"tokens-per-second": round(statistics.median(rates), 1)} if rates else {}
