"""Entailment as a reward: how well the source text supports each sentence of a completion.

    rewards:
      - use: nli
        options: {model: models/nli, prompt_from: facts.post}

Entailment alone rewards copying: a sentence of the source is entailed by the source. Use it beside the guards `length`,
`copy-rate` and `format`, and beside a reward that says whether a summary is a good one.
"""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_nli.source import Entailment


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `nli`."""
    register("nli", Entailment)
