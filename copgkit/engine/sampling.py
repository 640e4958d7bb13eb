"""How a next token is chosen: pure functions, and random numbers that depend on nothing but what they are for.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from copgkit.types import Prompt


def stream_names(prompts: Sequence[Prompt], completions_per_prompt: int, seed: int) -> list[list[str]]:
    """A name for the random numbers of each completion, completions_per_prompt for each prompt.

    It is made of the seed, the prompt's content and the completion's number among those of the same content, so that a
    completion does not depend on its batch, and a prompt that is given twice gets different completions.
    """
    seen: Counter[str] = Counter()
    names = []
    for prompt in prompts:
        key = prompt.content_key
        names.append([f"{seed}|{seen[key] + index}|{key}" for index in range(completions_per_prompt)])
        seen[key] += completions_per_prompt
    return names


def uniforms(stream: str, count: int) -> list[float]:
    """The first `count` numbers in [0, 1) of the named stream; the same on every machine."""
    generator = random.Random(stream)
    return [generator.random() for _ in range(count)]


def choose(logits_RV: Tensor, uniform_R: Tensor, temperature: float, top_p: float) -> Tensor:
    """Draws one token a row [R] by the inverse of the cumulated softmax(logits / temperature); argmax at temperature 0.

    uniform_R: numbers in [0, 1), float64. One number a token, so that two models that are given the same numbers write
    alike where they agree. top_p: only the likeliest tokens that together hold this mass can be drawn (Holtzman et
    al. 2020, nucleus sampling).
    """
    if temperature == 0:
        return logits_RV.argmax(-1)
    probability_RV = (logits_RV.double() / temperature).softmax(-1)
    if top_p >= 1:
        return _inverse(probability_RV, uniform_R)
    sorted_RV, token_RV = probability_RV.sort(stable=True, dim=-1, descending=True)
    mass_before_RV = sorted_RV.cumsum(-1) - sorted_RV
    rank_R = _inverse(sorted_RV * (mass_before_RV < top_p), uniform_R)
    return token_RV.gather(1, rank_R[:, None])[:, 0]


def _inverse(weight_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """The first index whose cumulated weight exceeds uniform times the whole; indices of no weight are never met."""
    cumulated_RV = weight_RV.cumsum(-1)
    target_R1 = (uniform_R * cumulated_RV[:, -1])[:, None]
    index_R = torch.searchsorted(cumulated_RV, target_R1, right=True)[:, 0]
    return index_R.clamp(max=weight_RV.shape[-1] - 1)
