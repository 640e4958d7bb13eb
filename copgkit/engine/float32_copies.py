"""AdamW for weights of 16 bits: it steps along float32 copies of them, and rounds what comes out.

    optimiser = Float32Copies(policy.parameters(), lr=1e-6)

A bfloat16 number has 8 significant bits, so that a step smaller than a 512th of a weight is lost in it, which at usual
learning rates is every step; added up in the copy, they arrive. Four more bytes a weight, and the optimiser's state in
float32, are the price. Limits: gradients are those of the 16-bit weights, in 16 bits, also where passes are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_COPY = "float32_copy"


class Float32Copies(torch.optim.AdamW):
    """What it steps are the copies; the weights follow. Weights of 32 bits are their own copies.

    `state_dict` has the copies with the rest: from the weights alone they could not be had again. It is of one group.
    """

    def __init__(self, weights: Iterable[torch.nn.Parameter], **options: Any) -> None:
        """options: AdamW's."""
        self._weights = list(weights)
        self._copies = [_copy(weight) for weight in self._weights]
        super().__init__(self._copies, **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes a step along the weights' gradients."""
        own = [(weight, copy) for weight, copy in zip(self._weights, self._copies, strict=True) if weight is not copy]
        for weight, copy in own:
            copy.grad = None if weight.grad is None else weight.grad.to(copy.dtype)
        super().step(closure)
        for weight, copy in own:
            copy.grad = None
            weight.copy_(copy)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of the weights."""
        for weight in self._weights:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        """AdamW's, with each weight's copy in what is remembered of it."""
        kept = super().state_dict()
        for number, memory in kept["state"].items():
            kept["state"][number] = memory | {_COPY: self._copies[number].detach()}
        return kept

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave. The weights become what the copies say; where there are none yet, since no
        step was taken, the copies what the weights say."""
        kept = state_dict["state"]
        others = {number: {name: one[name] for name in one if name != _COPY} for number, one in kept.items()}
        super().load_state_dict({**state_dict, "state": others})
        for number, (weight, copy) in enumerate(zip(self._weights, self._copies, strict=True)):
            copy.copy_(kept[number][_COPY] if number in kept else weight)
            weight.copy_(copy)


def _copy(weight: torch.nn.Parameter) -> Tensor:
    if weight.dtype not in (torch.bfloat16, torch.float16):
        return weight
    return weight.detach().to(torch.float32)
