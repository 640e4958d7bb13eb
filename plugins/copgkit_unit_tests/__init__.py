"""Rewards from unit tests: a completion's program is run, isolated, against the tests of its prompt.

    prompts -> problems (which tests, which verdict mode)      completions -> extraction (which part is the program)
    verdicts -> candidate, examination, comparison (what counts as right)          source, pass_at_k (what recipes use)

`sandbox` is the isolation, a package of its own that knows nothing of copgkit. What is claimed of it, and what is not,
stands in SECURITY.md.
"""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_unit_tests.hidden_tests import HiddenTests
from copgkit_unit_tests.pass_at_k import PassAtK
from copgkit_unit_tests.source import UnitTests


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `unit-tests`."""
    register("unit-tests", UnitTests)


@hookimpl
def register_evaluators(register: Any) -> None:
    """Announces `pass-at-k` and `hidden-tests`."""
    register("pass-at-k", PassAtK)
    register("hidden-tests", HiddenTests)
