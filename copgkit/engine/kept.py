"""Generation that is not done twice: a batch that a killed run has written is read instead.

    policy.kept = KeptBatches(shelf, model=lambda: "the policy after step 12")

A batch is known by the model as it then is, the random numbers of its rows, and the settings: all that its ids depend
on, in the order that last digits depend on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from copgkit.types import GenerationSettings

Rows = list[tuple[int, ...]]


class Shelf(Protocol):
    """Where batches are kept."""

    def find(self, name: str) -> Rows | None:
        """The ids of each row; None for a batch that is not there."""
        ...

    def keep(self, name: str, rows: Sequence[Sequence[int]]) -> None:
        """Writes a batch under its name."""
        ...


@dataclass(frozen=True)
class KeptBatches:
    """The batches of one model. model: names its weights as they are now. Without a shelf nothing is kept."""

    shelf: Shelf | None = None
    model: Callable[[], str] = str

    def rows(
        self, streams: Sequence[str], max_tokens: int, settings: GenerationSettings, write: Callable[[], Rows]
    ) -> Rows:
        """The ids of a batch: those that are kept, else what `write` gives, which is then kept."""
        if self.shelf is None:
            return write()
        facts = [self.model(), max_tokens, settings.temperature, settings.top_p, list(streams)]
        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        found = self.shelf.find(name)
        if found is None:
            found = write()
            self.shelf.keep(name, found)
        return found
