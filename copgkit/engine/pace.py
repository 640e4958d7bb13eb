"""How many completions one call of a reward source holds: as many as take a few seconds.

A call is what a killed run loses, and the most that a source can work on at once. So a slow source is asked about few
completions at a time and a quick one about many, found by doubling and halving.
"""

from __future__ import annotations

from dataclasses import dataclass

_LARGEST = 1024
_ENOUGH_SECONDS, _TOO_MANY_SECONDS = 2.0, 4.0


@dataclass
class Pace:
    """size: completions in the next call; the first are few, but enough for a source that works on several at once."""

    size: int = 8

    def took(self, completions: int, seconds: float) -> None:
        """Learns from a call. One that was not full says nothing about larger ones."""
        if seconds > _TOO_MANY_SECONDS:
            self.size = max(1, self.size // 2)
        elif seconds < _ENOUGH_SECONDS and completions * 2 > self.size:
            self.size = min(_LARGEST, self.size * 2)
