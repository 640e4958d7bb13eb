"""Generation: a short decoding loop over the key/value cache, in which every completion has random numbers of its own.

transformers' `generate` draws a whole batch from the global random state, so that a completion would depend on its
batch. Here it depends on the seed, its prompt and its number (up to rounding: a number within 1e-7 of the border
between two tokens may fall on either side in another batch). The global random state is not touched.

Limits: the module must give a key/value cache whose rows can be reordered, as transformers' caches do.
Legend: P prompts, R rows (completions that are being written), T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from copgkit.engine.cache import spread
from copgkit.engine.log_probs import PAD
from copgkit.engine.sampling import choose, uniforms
from copgkit.errors import ModelError
from copgkit.types import GenerationSettings

_WORTH_DROPPING = 0.25  # share of finished rows from which copying the others' cache costs less than carrying them


@dataclass
class _Rows:
    """The rows that are still being written: what the next forward pass needs, and which completion each one is."""

    cache: Any
    attention_RT: Tensor
    position_R: Tensor
    uniform_RT: Tensor
    number_R: Tensor

    def keep(self, index: Tensor) -> None:
        """Leaves only these rows, in this order."""
        self.cache.reorder_cache(index)
        self.attention_RT = self.attention_RT[index]
        self.position_R = self.position_R[index]
        self.uniform_RT = self.uniform_RT[index]
        self.number_R = self.number_R[index]


@torch.no_grad()
def complete(
    module: Callable[..., Any],
    prompts: Sequence[Sequence[int]],
    streams: Sequence[Sequence[str]],
    stop_ids: Sequence[int],
    max_tokens: int,
    settings: GenerationSettings,
    device: torch.device,
    narrow: bool,
    ended: Callable[[Sequence[int]], bool] | None = None,
) -> list[list[tuple[int, ...]]]:
    """Writes one completion for each stream name of each prompt: its ids, the stop id included if it was produced.

    streams: as many names for every prompt. Every prompt is read once; its cache is then shared out to its rows.
    narrow: the module takes `logits_to_keep`. ended: whether what a row has written ends it, beside the stop ids.
    """
    per_prompt = len(streams[0])
    names = [name for row in streams for name in row]
    uniform_RT = torch.tensor([uniforms(name, max_tokens) for name in names], dtype=torch.float64).to(device)
    rows, logits_RV = _read_prompts(module, prompts, uniform_RT, narrow)
    written: list[list[int]] = [[] for _ in names]
    stops = torch.tensor(list(stop_ids), device=device)
    finished_R = torch.zeros(len(names), dtype=torch.bool, device=device)
    for step in range(max_tokens):
        token_R = choose(logits_RV, rows.uniform_RT[:, step], settings.temperature, settings.top_p)
        _append(written, rows.number_R, token_R, finished_R)
        finished_R |= torch.isin(token_R, stops)
        if ended is not None:
            finished_R |= torch.tensor([ended(written[number]) for number in rows.number_R.tolist()], device=device)
        if step == max_tokens - 1 or finished_R.all():
            break
        if finished_R.float().mean() >= _WORTH_DROPPING:
            going = (~finished_R).nonzero()[:, 0]
            rows.keep(going)
            token_R, finished_R = token_R[going], finished_R[going]
        logits_RV = _read_tokens(module, rows, token_R)
    flat = [tuple(ids) for ids in written]
    return [flat[start : start + per_prompt] for start in range(0, len(flat), per_prompt)]


def _read_prompts(
    module: Callable[..., Any], prompts: Sequence[Sequence[int]], uniform_RT: Tensor, narrow: bool
) -> tuple[_Rows, Tensor]:
    """The rows after the prompts were read, and the logits of their first tokens [R, V]. Prompts are padded in front,
    so that all rows end together."""
    device = uniform_RT.device
    longest = max(len(ids) for ids in prompts)
    ids_PT = torch.tensor([[PAD] * (longest - len(ids)) + list(ids) for ids in prompts], device=device)
    lengths_P1 = torch.tensor([[len(ids)] for ids in prompts], device=device)
    attention_PT = (torch.arange(longest, device=device) >= longest - lengths_P1).long()
    position_PT = (attention_PT.cumsum(-1) - 1).clamp(min=0)  # a plain forward pass would count the padding
    more = {"logits_to_keep": 1} if narrow else {}
    output = module(input_ids=ids_PT, attention_mask=attention_PT, position_ids=position_PT, use_cache=True, **more)
    cache: Any = getattr(output, "past_key_values", None)
    if not hasattr(cache, "reorder_cache"):
        raise ModelError(
            "policy.model: this architecture keeps no key/value cache, which generation needs. Use another."
        )
    number_R = torch.arange(len(uniform_RT), device=device)
    prompt_R = number_R // (len(uniform_RT) // len(prompts))
    spread(cache, prompt_R, room=uniform_RT.shape[1])
    rows = _Rows(cache, attention_PT[prompt_R], position_PT[:, -1][prompt_R], uniform_RT, number_R)
    return rows, output.logits[:, -1][prompt_R]


def _read_tokens(module: Callable[..., Any], rows: _Rows, token_R: Tensor) -> Tensor:
    """The logits after one more token a row [R, V]."""
    rows.attention_RT = torch.cat([rows.attention_RT, torch.ones_like(rows.attention_RT[:, :1])], dim=1)
    rows.position_R = rows.position_R + 1
    output = module(
        input_ids=token_R[:, None],
        attention_mask=rows.attention_RT,
        position_ids=rows.position_R[:, None],
        past_key_values=rows.cache,
        use_cache=True,
    )
    rows.cache = output.past_key_values
    logits: Tensor = output.logits[:, -1]
    return logits


def _append(written: list[list[int]], number_R: Tensor, token_R: Tensor, finished_R: Tensor) -> None:
    """Adds each row's token to its completion, unless that has ended."""
    for number, token_id, finished in zip(number_R.tolist(), token_R.tolist(), finished_R.tolist(), strict=True):
        if not finished:
            written[number].append(token_id)
