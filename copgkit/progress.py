"""How a run says where it is. The base class is silent; `copgkit.report` has the ones that speak to a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Phase:
    """One stretch of work ("generate", "score", "train"). Silent."""

    def advance(self, amount: int = 1, **figures: float) -> None:
        """`amount` more units are done; `figures` (reward=1.2, kl=0.3) may be shown beside the bar."""


class Progress:
    """Receives the phases, messages and warnings of a run. Silent.

    warnings: all that was warned of, in order, each once; the report shows them.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @contextmanager
    def phase(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Phase]:
        """A stretch of work of `total` units; None where the length is not known."""
        yield Phase()

    def message(self, text: str) -> None:
        """Something worth a line."""

    def warning(self, text: str) -> None:
        """Something the user should act on; kept for the report and shown once."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.show_warning(text)

    def show_warning(self, text: str) -> None:
        """Shows a new warning."""
