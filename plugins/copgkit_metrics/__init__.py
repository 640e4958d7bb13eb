"""What can be measured on samples of the policy."""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_metrics.evaluators import KL, HubMetric, RewardSummary, Rouge, WinRate


@hookimpl
def register_evaluators(register: Any) -> None:
    """Announces `reward-summary`, `kl`, `win-rate`, `rouge` and `metric`."""
    register("reward-summary", RewardSummary)
    register("kl", KL)
    register("win-rate", WinRate)
    register("rouge", Rouge)
    register("metric", HubMetric)
