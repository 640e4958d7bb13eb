"""A language model as a judge: its grade, asked for over the network, as a score."""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_judge.source import JudgeModel


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `judge`."""
    register("judge", JudgeModel)
