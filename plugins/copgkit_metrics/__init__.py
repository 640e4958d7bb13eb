"""What can be measured on samples of the policy, and metrics as rewards."""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_metrics.evaluators import KL, MetricFigures, RewardSummary, Rouge, WinRate
from copgkit_metrics.reward import MetricReward


@hookimpl
def register_evaluators(register: Any) -> None:
    """Announces `reward-summary`, `kl`, `win-rate`, `rouge` and `metric`."""
    register("reward-summary", RewardSummary)
    register("kl", KL)
    register("win-rate", WinRate)
    register("rouge", Rouge)
    register("metric", MetricFigures)


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `metric`."""
    register("metric", MetricReward)
