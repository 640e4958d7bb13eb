"""What the policy wrote at each evaluation, beside what the reference wrote for the same prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from copgkit.types import Sample


def write_samples(path: Path, step: int, samples: Sequence[Sample], reference_samples: Sequence[Sample]) -> None:
    """Appends one row for each prompt: {"step", "prompt", "completion", "reference_completion", "scores", "reward",
    "reference_reward", "log_ratio"}."""
    with path.open("a", encoding="utf-8") as file:
        for sample, reference in zip(samples, reference_samples, strict=True):
            row = {
                "step": step,
                "id": sample.completion.prompt.id,
                "prompt": sample.completion.prompt.text,
                "completion": sample.completion.text,
                "reference_completion": reference.completion.text,
                "scores": {name: score.value for name, score in sample.scores.items()},
                "reward": sample.reward,
                "reference_reward": reference.reward,
                "log_ratio": sample.log_ratio,
                "finished": sample.completion.finished,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The rows in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
