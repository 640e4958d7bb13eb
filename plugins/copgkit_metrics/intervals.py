"""95 % confidence intervals for means and shares."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from copgkit import Estimate

Z = 1.959964


def mean(values: Sequence[float]) -> Estimate:
    """The mean with its normal interval, mean +- z s / sqrt(n); a single value has no width that could be known."""
    centre = math.fsum(values) / len(values)
    half = Z * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(centre, centre - half, centre + half, len(values))


def share(hits: float, n: int) -> Estimate:
    """hits / n with Wilson's score interval (Wilson 1927); ties may count as half a hit."""
    centre = (hits + Z * Z / 2) / (n + Z * Z)
    half = Z / (n + Z * Z) * math.sqrt(hits * (n - hits) / n + Z * Z / 4)
    return Estimate(hits / n, max(0.0, centre - half), min(1.0, centre + half), n)
