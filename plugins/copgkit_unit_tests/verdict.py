"""The three outcomes: scored and rejected are a `Verdict`, and where nothing can be said there is `NoVerdict`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What a program achieved.

    passed of total: cases or asserts, or 0 or 1 of 1. raised: what it raised first, as the name of a built-in
    exception. rejected: why it got no further ("timeout", "crash", "memory", "output", "does-not-compile", ...).
    """

    passed: int = 0
    total: int = 1
    raised: str = ""
    rejected: str = ""

    @property
    def all_passed(self) -> bool:
        return not self.rejected and self.passed == self.total

    @property
    def ran(self) -> bool:
        """True if everything that was asked of it was answered by a value."""
        return not self.rejected and not self.raised


class NoVerdict(Exception):
    """Nothing can be said of the program. again: another try may help, since the machine or the sandbox failed."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again
