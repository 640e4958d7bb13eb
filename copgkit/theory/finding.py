"""What a check found: a number beside its tolerance, so that a reader need not take "ok" on trust."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One claim checked. holds: value <= tolerance. detail: further figures in words."""

    claim: str
    title: str
    value: float
    tolerance: float
    detail: str = ""

    @property
    def holds(self) -> bool:
        return self.value <= self.tolerance  # a NaN does not hold


EXACT = 1e-9
"""Tolerance for identities by autograd in double precision."""
NUMERIC = 1e-6
"""Tolerance against finite differences."""
