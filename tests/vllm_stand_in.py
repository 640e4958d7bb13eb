"""What stands in for vLLM: the calls that copgkit makes, with their names and arguments, and no model behind them.

Each completion is a few ids drawn from its seed, ended by a stop id or by the limit. Every call is written down in the
file that CALLS names.
"""

import json
import os
import random
from dataclasses import dataclass, field


def _write_down(call):
    with open(os.environ["CALLS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list | None = None
    stop_token_ids: list | None = None
    max_tokens: int | None = 16


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list
    finish_reason: str | None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    prompt_token_ids: list
    outputs: list = field(default_factory=list)


class LLM:
    def __init__(self, model, *, tokenizer=None, trust_remote_code=False, dtype="auto", revision=None,
                 tokenizer_revision=None, max_model_len=None):  # fmt: skip
        _write_down({"model": model, "dtype": dtype, "max_model_len": max_model_len})
        if "unreadable" in os.environ.get("FAULT", ""):
            raise ValueError("no GPU here")

    def generate(self, prompts, sampling_params, *, use_tqdm=True):
        assert len(prompts) == len(sampling_params)
        for prompt, given in zip(prompts, sampling_params, strict=True):
            _write_down(prompt | {"n": given.n, "seed": given.seed, "max_tokens": given.max_tokens, "stop": given.stop})
        return [
            RequestOutput(prompt["prompt_token_ids"], [_written(index, given) for index in range(given.n)])
            for prompt, given in zip(prompts, sampling_params, strict=True)
        ]


def _written(index, given):
    drawn = random.Random(given.seed + index)
    ids = [drawn.randrange(4, 20) for _ in range(drawn.randrange(1, given.max_tokens + 3))]
    if len(ids) > given.max_tokens:
        return CompletionOutput(index, "", ids[: given.max_tokens], "length")
    ending = [] if os.environ.get("FAULT") == "no stop ids" else given.stop_token_ids[:1]
    return CompletionOutput(index, "", (ids + ending)[: given.max_tokens + 1], "stop")
