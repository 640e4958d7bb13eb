"""Rewards without a model: a Python function in a file, and scores that came with the data."""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_functions.function import PythonFunction
from copgkit_functions.recorded import RecordedScore


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `python` and `recorded`."""
    register("python", PythonFunction)
    register("recorded", RecordedScore)
