"""How rows of tokens are written on: by sharing prompts or by copying them, and which of the two a model takes.

Both read every prompt once. The shared way (engine/shared_decoding.py) is tried when a policy is made, on a few tokens
against plain forward passes; a model that it does not fit takes the other.

Limits: a copied cache must be one whose rows can be reordered, as transformers' caches do.
Legend: P prompts, R rows (completions that are being written), T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from copgkit.engine.cache import cache_of, spread
from copgkit.engine.loading import is_coarse
from copgkit.engine.packing import PAD
from copgkit.engine.shared_decoding import NotShareable, SharedDecoder
from copgkit.errors import ModelError

_PROBE_PROMPTS = ((0, 1, 1, 0, 1), (1, 0, 1), (1, 1, 0, 0, 1))
_PROBE_STEPS = 3
_TOLERANCE, _TOLERANCE_COARSE = 1e-4, 5e-2  # of how much the logits vary; the second for 16-bit weights


class Decoder(Protocol):
    """Rows that are being written."""

    def read(self, token_R: Tensor) -> Tensor:
        """The logits after one more token a row [R, V]."""
        ...

    def keep(self, index_R: Tensor) -> None:
        """Leaves only these rows, in ascending order."""
        ...


@dataclass(frozen=True)
class Way:
    """How a model's rows are decoded.

    gap: largest difference of the shared way from plain forward passes, as a share of how much the logits vary; None
    where it could not be tried. reason: why not, or why it is not taken.
    """

    shared: bool
    gap: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.shared:
            return f"generation: the completions of a prompt share it (probe: differs from plain by {self.gap:.1g})."
        return f"generation: every completion has a copy of its prompt's keys and values, since {self.reason}."

    @property
    def disagrees(self) -> bool:
        """Whether the shared way ran and gave other numbers, which is worth a warning."""
        return not self.shared and self.gap is not None


class CopyingDecoder:
    """Rows with a copy of their prompt's cache each, whatever kind of cache it is."""

    def __init__(self, module: Callable[..., Any], cache: Any, attention_RT: Tensor, position_R: Tensor) -> None:
        self._module, self._cache = module, cache
        self._attention_RT, self._position_R = attention_RT, position_R

    @classmethod
    def after(
        cls,
        module: Callable[..., Any],
        prompts: Sequence[Sequence[int]],
        counts: Sequence[int],
        room: int,
        device: torch.device,
        narrow: bool,
    ) -> tuple[CopyingDecoder, Tensor]:
        """The decoder after the prompts, with counts[p] rows for prompt p, and the logits of their first tokens [R, V].

        Prompts are padded in front, so that all rows end together. Raises ModelError if the module has no cache.
        """
        longest = max(len(ids) for ids in prompts)
        ids_PT = torch.tensor([[PAD] * (longest - len(ids)) + list(ids) for ids in prompts], device=device)
        length_P1 = torch.tensor([[len(ids)] for ids in prompts], device=device)
        attention_PT = (torch.arange(longest, device=device) >= longest - length_P1).long()
        position_PT = (attention_PT.cumsum(-1) - 1).clamp(min=0)  # a plain forward pass would count the padding
        more = {"logits_to_keep": 1} if narrow else {}
        output = module(input_ids=ids_PT, attention_mask=attention_PT, position_ids=position_PT, use_cache=True, **more)
        cache = cache_of(output)
        prompt_R = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(device)
        spread(cache, prompt_R, room)
        decoder = cls(module, cache, attention_PT[prompt_R], position_PT[:, -1][prompt_R])
        return decoder, output.logits[:, -1][prompt_R]

    def read(self, token_R: Tensor) -> Tensor:
        """The logits after one more token a row [R, V]."""
        self._attention_RT = torch.cat([self._attention_RT, torch.ones_like(self._attention_RT[:, :1])], dim=1)
        self._position_R = self._position_R + 1
        output = self._module(
            input_ids=token_R[:, None],
            attention_mask=self._attention_RT,
            position_ids=self._position_R[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep(self, index_R: Tensor) -> None:
        """Leaves only these rows."""
        self._cache.reorder_cache(index_R)
        self._attention_RT = self._attention_RT[index_R]
        self._position_R = self._position_R[index_R]


@torch.no_grad()
def find_way(module: torch.nn.Module, device: torch.device, narrow: bool) -> Way:
    """Tries the shared way on three prompts with rows that end at different times, against plain forward passes.

    The two agree if their logits differ by less than 1e-4 (16-bit weights: 5e-2) of how much the logits vary.
    """
    try:
        shared, plain = _probe(module, device, narrow)
    except NotShareable as fault:
        return Way(False, reason=str(fault))
    except ModelError:
        return Way(False, reason="there is no cache to share")
    except (AttributeError, KeyError, TypeError, IndexError, RuntimeError, ValueError) as fault:
        return Way(False, reason=f"the shared way failed on this architecture ({' '.join(str(fault).split())[:200]})")
    gap = ((shared - plain).abs().max() / plain.std()).item()
    if gap <= (_TOLERANCE_COARSE if is_coarse(module) else _TOLERANCE):
        return Way(True, gap)
    return Way(False, gap, f"the shared way gives logits that differ from plain forward passes by {gap:.2g}")


def _probe(module: torch.nn.Module, device: torch.device, narrow: bool) -> tuple[Tensor, Tensor]:
    """Logits of both ways, row by row and step by step."""
    counts = (2, 3, 1)
    decoder, logits = SharedDecoder.after(module, _PROBE_PROMPTS, counts, device, narrow, 8)
    rows = [list(ids) for ids, count in zip(_PROBE_PROMPTS, counts, strict=True) for _ in range(count)]
    shared, plain = [logits], [_plain(module, rows, device)]
    for step in range(_PROBE_STEPS):
        tokens = [(place + step) % 2 for place in range(len(rows))]
        rows = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
        shared.append(decoder.read(torch.tensor(tokens, device=device)))
        plain.append(_plain(module, rows, device))
        going = [place for place in range(len(rows)) if place != step]
        decoder.keep(torch.tensor(going, device=device))
        rows = [rows[place] for place in going]
    return torch.cat(shared).float(), torch.cat(plain).float()


def _plain(module: torch.nn.Module, rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    outputs = [module(input_ids=torch.tensor([row], device=device), use_cache=False) for row in rows]
    return torch.cat([output.logits[:, -1] for output in outputs])
