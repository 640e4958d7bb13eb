"""What scoring costs: panel and score store for each completion, and the sandbox for each execution.

Both come from programs of their own beside this file, which have more options and say how they measure.
"""

from __future__ import annotations

import os

from benchmarks import sandbox_throughput, score_overhead
from benchmarks.options import Options
from benchmarks.tables import Table
from benchmarks.timing import Spread
from copgkit_unit_tests.sandbox import probe


def measure(options: Options) -> list[Table]:
    """A table for each of the two."""
    return [_panel(options.repeats), _sandbox(options.repeats)]


def _panel(repeats: int) -> Table:
    table = Table(
        "Panel and score store, beside a source that takes a millisecond for a completion",
        ("way", "added, µs of processor time", "added, µs", "completions a second"),
        note="Bar: 50 µs of processor time. Completions a second are what the way itself could pass on.",
    )
    for way, added in score_overhead.measure(completions=2000, repeats=repeats).items():
        cpu, wall = ([pair[kind] for pair in added] for kind in (0, 1))
        rate = 1e6 / Spread.of(cpu).median
        row = [way, Spread.of(cpu).shown(), Spread.of(wall).shown(), f"{rate:,.0f}"]
        table.add(row, {"way": way, "microseconds, processor and wall": added})
    return table


def _sandbox(repeats: int) -> Table:
    profile, workers = probe().profile, (os.cpu_count() or 1) + 1
    table = Table(
        f"Sandbox, profile '{profile}', {workers} workers",
        ("execution", "a second", "processor time of each, ms"),
    )
    for work in (sandbox_throughput.cases, sandbox_throughput.checks):
        rates, milliseconds = sandbox_throughput.measure(work, profile, workers, executions=200, repeats=repeats)
        row = [work.__name__, Spread.of(rates).shown(".0f"), f"{milliseconds:.2f}"]
        table.add(row, {"execution": work.__name__, "a second": rates, "milliseconds": milliseconds})
    return table
