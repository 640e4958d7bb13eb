"""Executions a second of the sandbox: input/output cases, and tests and candidate in sandboxes of their own.

    python benchmarks/sandbox_throughput.py [--profile full] [--workers 3] [--executions 200] [--repeats 5]

One execution of `cases` opens a session, loads a function, calls it three times and closes; one of `checks` has a test
text with three assertions relayed to a candidate. The rate depends on who else uses the machine, processor time per
execution much less: it counts supervisor, zygotes and children, and on W idle cores W seconds of it pass in a second.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from copgkit_unit_tests.sandbox import Limits, Pool, probe

CODE = "def add(a, b):\n    total = a\n    for _ in range(b):\n        total += 1\n    return total\n"
TESTS = "assert add(1, 2) == 3\nassert add(0, 0) == 0\nassert add(5, 7) == 12\n"


def cases(pool: Pool) -> None:
    """Three calls whose values the supervisor compares."""
    with pool.open("candidate") as session:
        session.send({"do": "load", "source": CODE})
        session.receive()
        for a, b in ((1, 2), (0, 0), (5, 7)):
            session.send({"do": "call", "name": "add", "args": [a, b], "kwargs": {}})
            assert session.receive()["value"] == a + b


def checks(pool: Pool) -> None:
    """Three assertions, in a process that never holds the code."""
    with pool.open("tests") as tests, pool.open("candidate") as candidate:
        candidate.send({"do": "load", "source": CODE})
        tests.send({"do": "check", "source": TESTS, "entry_point": "add"})
        candidate.receive()
        while "ask" in (said := tests.receive()):
            candidate.send({"do": "call", "name": said["name"], "args": said["args"], "kwargs": said["kwargs"]})
            tests.send(candidate.receive())
        assert said["passed"]


def measure(
    work: Callable[[Pool], None], profile: str, workers: int, executions: int, repeats: int
) -> tuple[list[float], float]:
    """Executions a second of each repeat, and milliseconds of processor time for each execution."""
    rates = []
    before = _processor_seconds()
    with (
        Pool(profile, Limits(), workers) as pool,
        ThreadPoolExecutor(workers) as threads,
    ):
        list(threads.map(work, [pool] * 4 * workers))  # starts the zygotes
        for _ in range(repeats):
            started = time.perf_counter()
            list(threads.map(work, [pool] * executions))
            rates.append(executions / (time.perf_counter() - started))
    number = executions * repeats + 4 * workers
    return rates, 1000 * (_processor_seconds() - before) / number


def _processor_seconds() -> float:
    """Of this process and of all it has waited for."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def main() -> None:
    """Measure both kinds of execution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default=probe().profile)
    for name, default in (("workers", (os.cpu_count() or 1) + 1), ("executions", 200), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    print(
        f"profile '{options.profile}', {options.workers} workers, {options.repeats} x {options.executions} executions"
    )
    for work in (cases, checks):
        rates, processor_ms = measure(work, options.profile, options.workers, options.executions, options.repeats)
        print(
            f"{work.__name__:6}  {statistics.median(rates):5.0f} executions/s ({min(rates):.0f} to {max(rates):.0f}),"
            f" {processor_ms:.2f} ms of processor time each"
        )


if __name__ == "__main__":
    main()
