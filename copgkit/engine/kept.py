"""Generation that is not done twice: a batch that a killed run has written is read instead.

    policy.kept = KeptBatches(shelf, model=lambda: "the policy after step 12")

A batch is known by the model as it then is, the random numbers of its rows, and the settings: all that its ids and
log-probabilities depend on, in the order that last digits depend on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from copgkit.types import GenerationSettings


class Written(NamedTuple):
    """What a model wrote: ids, the stop id included if it was produced, and ln pi of all of them in nats; None where
    that is not known as a forward pass over the whole would give it."""

    token_ids: tuple[int, ...]
    log_prob: float | None


class Shelf(Protocol):
    """Where batches are kept."""

    def find(self, name: str) -> list[tuple[tuple[int, ...], float | None]] | None:
        """Each row of a batch; None for one that is not there."""
        ...

    def keep(self, name: str, rows: Sequence[Written]) -> None:
        """Writes a batch under its name."""
        ...


@dataclass(frozen=True)
class KeptBatches:
    """The batches of one model. model: names its weights as they are now. Without a shelf nothing is kept."""

    shelf: Shelf | None = None
    model: Callable[[], str] = str

    def rows(
        self, streams: Sequence[str], max_tokens: int, settings: GenerationSettings, write: Callable[[], list[Written]]
    ) -> list[Written]:
        """The rows of a batch: those that are kept, else what `write` gives, which is then kept."""
        if self.shelf is None:
            return write()
        facts = [self.model(), max_tokens, settings.temperature, settings.top_p, list(streams)]
        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        found = self.shelf.find(name)
        if found is not None:
            return [Written(*row) for row in found]
        written = write()
        self.shelf.keep(name, written)
        return written
