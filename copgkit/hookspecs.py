"""Everything a plugin may announce: four hooks of one form.

`register(name, cls)` takes a kebab-case name and a component class; the recipe supplies the options.
"""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from copgkit.components import Evaluator, PromptSource, RewardSource
from copgkit.samplers import Sampler

PROJECT = "copgkit"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_prompt_sources(register: Callable[[str, type[PromptSource]], None]) -> None:
    """Announce where prompts can be read from: register("jsonl", JsonLines)."""


@hookspec
def register_samplers(register: Callable[[str, type[Sampler]], None]) -> None:
    """Announce how groups of completions come about: register("recorded", RecordedSampler)."""


@hookspec
def register_reward_sources(register: Callable[[str, type[RewardSource]], None]) -> None:
    """Announce what can score a completion: register("brevity", Brevity)."""


@hookspec
def register_evaluators(register: Callable[[str, type[Evaluator]], None]) -> None:
    """Announce what can be measured on samples of the policy: register("win-rate", WinRate)."""
