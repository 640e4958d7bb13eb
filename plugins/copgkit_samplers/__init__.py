"""The samplers that come with copgkit: where groups of completions come from, and which of their pairs are contrasted.

| where groups come from | |
|---|---|
| `recorded` | the completions that came with the data |
| `reference` | the frozen reference, once, before training |
| `policy` | the policy as it is, every N steps |

| around another sampler | |
|---|---|
| `mixture` | several, each with its share |
| `replay` | groups of earlier rounds beside fresh ones |
| `difficulty` | leaves out groups without signal, or of prompts that are too easy or too hard |
| `all-pairs`, `first-vs-rest`, `best-vs-worst`, `above-threshold` | which pairs of a group are contrasted |

The optimum asks one thing of a sampler: that the pairs it gives connect all that the reference can write. How often
each pair comes does not matter, and may depend on rewards. A sampler that may fail to connect has a `caveat`.
"""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_samplers.contrasts import AboveThreshold, AllPairs, BestVsWorst, FirstVsRest
from copgkit_samplers.difficulty import DifficultySampler
from copgkit_samplers.generating import PolicySampler, ReferenceSampler
from copgkit_samplers.mixture import MixtureSampler
from copgkit_samplers.recorded import RecordedSampler
from copgkit_samplers.replay import ReplaySampler

__all__ = [
    "AboveThreshold",
    "AllPairs",
    "BestVsWorst",
    "DifficultySampler",
    "FirstVsRest",
    "MixtureSampler",
    "PolicySampler",
    "RecordedSampler",
    "ReferenceSampler",
    "ReplaySampler",
    "register_samplers",
]


@hookimpl
def register_samplers(register: Any) -> None:
    """Announces every sampler of this package."""
    register("recorded", RecordedSampler)
    register("reference", ReferenceSampler)
    register("policy", PolicySampler)
    register("mixture", MixtureSampler)
    register("replay", ReplaySampler)
    register("difficulty", DifficultySampler)
    register("all-pairs", AllPairs)
    register("first-vs-rest", FirstVsRest)
    register("best-vs-worst", BestVsWorst)
    register("above-threshold", AboveThreshold)
