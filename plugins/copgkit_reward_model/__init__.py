"""A learned reward: any Hugging Face sequence classifier, of one output or of several."""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_reward_model.source import RewardModel


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `reward-model`."""
    register("reward-model", RewardModel)
