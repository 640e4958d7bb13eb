"""How a next token is chosen: pure functions, and random numbers that depend on nothing but what they are for.

Legend: R rows, V vocabulary, K the likeliest tokens.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from copgkit.types import Prompt

_NUMBERS_AT_ONCE = (
    2**18
)  # on a CPU: 64 rows of 32,000 in float64 take 30 ms as a whole and 8 ms in parts that fit a cache
_ENOUGH = 1024  # likeliest tokens among which a nucleus is looked for first


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


def choose(logits_RV: Tensor, uniform_R: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Draws one token a row [R] by the inverse of the cumulated softmax(logits / temperature); argmax at temperature 0.
    And what the model gives it, ln softmax(logits) in nats [R], float64, whatever temperature and top_p are.

    uniform_R: numbers in [0, 1), float64. One number a token, so that two models that are given the same numbers write
    alike where they agree. top_p: only the likeliest tokens that together hold this mass can be drawn (Holtzman et
    al. 2020, nucleus sampling).
    """
    rows = max(1, _NUMBERS_AT_ONCE // logits_RV.shape[-1]) if logits_RV.device.type == "cpu" else len(logits_RV)
    parts = zip(logits_RV.split(rows), uniform_R.split(rows), strict=True)
    tokens, logps = zip(*(_drawn(logits, uniform, temperature, top_p) for logits, uniform in parts), strict=True)
    return torch.cat(tokens), torch.cat(logps)


def _drawn(logits_RV: Tensor, uniform_R: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    logits_RV = logits_RV.double()
    if temperature == 0:
        token_R = logits_RV.argmax(-1)
        return token_R, _of(token_R, logits_RV.log_softmax(-1))
    probability_RV = (logits_RV / temperature).softmax(-1)
    token_R = _token(probability_RV, uniform_R, top_p)
    if temperature == 1:
        return token_R, _of(token_R, probability_RV).log()
    return token_R, _of(token_R, logits_RV.log_softmax(-1))


def _of(token_R: Tensor, value_RV: Tensor) -> Tensor:
    return value_RV.gather(1, token_R[:, None])[:, 0]


def _token(probability_RV: Tensor, uniform_R: Tensor, top_p: float) -> Tensor:
    if top_p >= 1:
        return _inverse(probability_RV, uniform_R)
    sorted_RV, token_RV = _likeliest(probability_RV, top_p)
    mass_before_RV = sorted_RV.cumsum(-1) - sorted_RV
    rank_R = _inverse(sorted_RV * (mass_before_RV < top_p), uniform_R)
    return _of(rank_R, token_RV)


def _likeliest(probability_RV: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Probabilities from the highest on and their tokens, equal ones in the order of their tokens: at least those that
    hold top_p. All of them only where they must be: sorting 8 rows of 32,000 takes 25 ms, finding the top 1,024 5 ms.
    """
    if probability_RV.shape[-1] > 2 * _ENOUGH:
        top_RK, token_RK = probability_RV.topk(_ENOUGH, dim=-1)
        surely_RK = top_RK > top_RK[:, -1:]  # the last one's equals may be missing
        if bool(((top_RK * surely_RK).sum(-1) >= top_p).all()):
            token_RK, order_RK = token_RK.sort(-1)
            top_RK, order_RK = top_RK.gather(1, order_RK).sort(stable=True, dim=-1, descending=True)
            return top_RK, token_RK.gather(1, order_RK)
    sorted_RV, token_RV = probability_RV.sort(stable=True, dim=-1, descending=True)
    return sorted_RV, token_RV


def _inverse(weight_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """The first index whose cumulated weight exceeds uniform times the whole; indices of no weight are never met."""
    cumulated_RV = weight_RV.cumsum(-1)
    target_R1 = (uniform_R * cumulated_RV[:, -1])[:, None]
    index_R = torch.searchsorted(cumulated_RV, target_R1, right=True)[:, 0]
    return index_R.clamp(max=weight_RV.shape[-1] - 1)
