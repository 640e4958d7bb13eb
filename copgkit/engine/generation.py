"""Generation: a short decoding loop over the key/value cache, in which every completion has random numbers of its own.

transformers' `generate` draws a whole batch from the global random state, so that a completion would depend on its
batch. Here it depends on the seed, its prompt and its number (up to rounding: a number within 1e-7 of the border
between two tokens may fall on either side in another batch). The global random state is not touched.

Legend: P prompts, N completions, R rows (completions that are still being written), T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from copgkit.engine.decoding import Decoder
from copgkit.engine.kept import Written
from copgkit.engine.sampling import choose, uniforms
from copgkit.types import GenerationSettings

_WORTH_DROPPING = 0.125  # share of finished rows from which leaving them out costs less than carrying them
_FEW_ROWS, _MANY_ROWS = 256, 1_024
_MODEST = 2**28  # bytes


def rows_at_once(config: Any, bytes_per_number: int, tokens_per_row: float) -> int:
    """How many completions are written together: 256, or up to 1,024 as long as their keys and values take no more than
    256 MiB. A small model's steps are so short that what each costs beside its products is worth sharing.

    config: the model's; heads that share keys are not counted, so that the memory is an upper bound. tokens_per_row:
    those of a completion and its share of what is kept of its prompt.
    """
    layers, width = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if not layers or not width:
        return _FEW_ROWS
    row = 2 * layers * width * bytes_per_number * tokens_per_row
    return min(max(_FEW_ROWS, int(_MODEST / row)), _MANY_ROWS)


@torch.no_grad()
def complete(
    start: Callable[[], tuple[Decoder, Tensor]],
    streams: Sequence[str],
    stop_ids: Sequence[int],
    max_tokens: int,
    settings: GenerationSettings,
    device: torch.device,
    ended: Callable[[Sequence[int]], bool] | None = None,
) -> list[Written]:
    """Writes one completion for each stream name.

    start: reads the prompts and gives the decoder of all rows, and the logits of their first tokens [R, V]. ended:
    whether what a row has written ends it, beside the stop ids.
    """
    uniform_NT = torch.tensor([uniforms(name, max_tokens) for name in streams], dtype=torch.float64).to(device)
    stops = torch.tensor(list(stop_ids), device=device)
    written_NT = torch.zeros(uniform_NT.shape, dtype=torch.long, device=device)
    logp_N = torch.zeros(len(streams), dtype=torch.float64, device=device)
    length_N = torch.full((len(streams),), max_tokens, device=device)
    number_R = torch.arange(len(streams), device=device)
    finished_R = torch.zeros(len(streams), dtype=torch.bool, device=device)
    decoder, logits_RV = start()
    for step in range(max_tokens):
        token_R, logp_R = choose(logits_RV, uniform_NT[number_R, step], settings.temperature, settings.top_p)
        written_NT[number_R, step] = token_R
        logp_N[number_R] += logp_R.masked_fill(finished_R, 0.0)
        ends_R = torch.isin(token_R, stops)
        if ended is not None:
            so_far = written_NT[number_R, : step + 1].tolist()
            ends_R |= torch.tensor([ended(ids) for ids in so_far], device=device)
        length_N[number_R[ends_R & ~finished_R]] = step + 1
        finished_R |= ends_R
        share = finished_R.double().mean().item()
        if step == max_tokens - 1 or share == 1:
            break
        if share >= _WORTH_DROPPING:
            going = (~finished_R).nonzero()[:, 0]
            decoder.keep(going)
            token_R, number_R, finished_R = token_R[going], number_R[going], finished_R[going]
        logits_RV = decoder.read(token_R)
    rows = zip(written_NT.tolist(), length_N.tolist(), logp_N.tolist(), strict=True)
    return [Written(tuple(ids[:length]), logp) for ids, length, logp in rows]
