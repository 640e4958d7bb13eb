"""Whose turn it is: the prompts of a run one after the other, all of them once before any comes again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from copgkit import Prompt


class Turns:
    """The prompts in passes, each pass in an order of its own that depends on the seed alone."""

    def __init__(self, prompts: Sequence[Prompt], seed: int) -> None:
        self._prompts, self._seed = prompts, seed
        self._taken = 0
        self._draws = 0
        self._order: list[int] = []
        self._order_of: int | None = None

    @property
    def seed(self) -> int:
        """A seed for the latest draw: a prompt that comes again gets other completions."""
        return self._seed + 1_000_003 * self._draws

    def take(self, count: int) -> list[Prompt]:
        """The next prompts."""
        taken = [self._prompt(self._taken + offset) for offset in range(count)]
        self._taken += count
        self._draws += 1
        return taken

    def state(self) -> dict[str, Any]:
        """How far it is; plain JSON data."""
        return {"drawn": self._taken, "rounds": self._draws}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on after the prompts that were taken when the state was saved."""
        self._taken, self._draws = int(state["drawn"]), int(state["rounds"])

    def _prompt(self, number: int) -> Prompt:
        pass_number, position = divmod(number, len(self._prompts))
        if self._order_of != pass_number:
            self._order = list(range(len(self._prompts)))
            random.Random(f"{self._seed}|{pass_number}").shuffle(self._order)
            self._order_of = pass_number
        return self._prompts[self._order[position]]
