"""What the policy wrote at each evaluation, beside what the reference wrote for the same prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copgkit.store.groups import score_out
from copgkit.store.json_lines import number_in, number_out, read_lines, to_line
from copgkit.types import Sample, Score


def write_samples(path: Path, step: int, samples: Sequence[Sample], reference_samples: Sequence[Sample]) -> None:
    """Appends one row for each prompt: {"step", "id", "prompt", "completion", "finished", "reference_completion",
    "scores", "reference_scores", "reward", "reference_reward", "log_ratio"}.

    Scores are written as in scored groups; a reward is null if a source failed. log_ratio is in nats.
    """
    with path.open("a", encoding="utf-8") as file:
        for ours, theirs in zip(samples, reference_samples, strict=True):
            row = {
                "step": step,
                "id": ours.completion.prompt.id,
                "prompt": ours.completion.prompt.text,
                "completion": ours.completion.text,
                "finished": ours.completion.finished,
                "reference_completion": theirs.completion.text,
                "scores": _scores(ours.scores),
                "reference_scores": _scores(theirs.scores),
                "reward": ours.reward,
                "reference_reward": theirs.reward,
                "log_ratio": number_out(ours.log_ratio),
            }
            file.write(to_line(row))


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The rows in order. Raises DataError naming the line for damage anywhere but at the end."""
    return [row | {"log_ratio": number_in(row["log_ratio"])} for _, row in read_lines(path, tolerate_cut_end=True)]


def _scores(scores: Mapping[str, Score]) -> dict[str, Any]:
    return {name: score_out(score) for name, score in scores.items()}
