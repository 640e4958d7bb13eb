"""What panel and score store cost for each completion, beside a source that takes a millisecond for it.

    python benchmarks/score_overhead.py [--completions 2000] [--repeats 7]

Four ways of scoring the same groups, in turn, in one process: the source alone; through the panel; through the panel
with an empty store, which looks everything up, finds nothing and keeps all; with a full one, where nothing is asked.
The source sleeps, so the CPU time of a way beyond that of the source alone is what copgkit adds. CPU time leaves out
waiting for the disk; wall time is shown beside it, and means something on an idle machine only. The store lies in a
temporary folder. Prompts are about 1,500 characters with three facts, completions 200.

Bar: 5 % of a millisecond, 50 microseconds of CPU time a completion. The exit status is 1 if a median is above it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from copgkit import Completion, Group, Prompt, RewardSource, Score
from copgkit.engine.judge import Judge
from copgkit.engine.scoring import Panel
from copgkit.store import ScoreStore, SourceIdentity

BAR_MICROSECONDS = 50.0
COMPLETIONS_PER_GROUP = 4
Measured = tuple[float, float]  # of CPU and of wall time


class Millisecond(RewardSource):
    """Sleeps a millisecond for each completion."""

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """The length of each text."""
        scores = []
        for completion in completions:
            time.sleep(0.001)
            scores.append(Score(float(len(completion.text)), {"words": 30.0}))
        return scores


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    added = measure(arguments.completions, arguments.repeats)
    sys.exit(_report(added, arguments.completions, arguments.repeats))


def measure(completions: int, repeats: int) -> dict[str, list[Measured]]:
    """Microseconds a completion, of CPU and wall time, that each way adds in each repeat."""
    rows = [_measure(completions, repeat) for repeat in range(repeats)]

    def added(way: str, beside: str | None) -> list[Measured]:
        base = [row[beside] if beside else (0.0, 0.0) for row in rows]
        return [
            (1e6 * (row[way][0] - less[0]) / completions, 1e6 * (row[way][1] - less[1]) / completions)
            for row, less in zip(rows, base, strict=True)
        ]

    return {
        "panel": added("panel", "source alone"),
        "panel, empty store": added("panel, empty store", "source alone"),
        "panel, full store": added("panel, full store", None),  # the source is not asked
    }


def _measure(completions: int, repeat: int) -> dict[str, Measured]:
    """CPU and wall seconds of each way, with a store of its own."""
    groups = _groups(completions, repeat)
    flat = [completion for group in groups for completion in group.completions]
    with tempfile.TemporaryDirectory() as folder:
        store = ScoreStore(Path(folder) / "scores.sqlite", sys.exit)
        shelf = store.shelf(lambda: SourceIdentity("benchmark", "millisecond", "1", "{}"))
        source = Millisecond()
        measured = {
            "source alone": _time(lambda: source.score(flat)),
            "panel": _time(lambda: Panel([Judge("millisecond", source)]).score(groups)),
            "panel, empty store": _time(lambda: Panel([Judge("millisecond", source, shelf=shelf)]).score(groups)),
            "panel, full store": _time(lambda: Panel([Judge("millisecond", source, shelf=shelf)]).score(groups)),
        }
        store.close()
    return measured


def _time(work: Callable[[], object]) -> Measured:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _groups(completions: int, repeat: int) -> list[Group]:
    groups = []
    for number in range(completions // COMPLETIONS_PER_GROUP):
        text = f"post {repeat} {number}: " + "so it went on and on, " * 70
        facts = {"tests": ["assert f(1) == 2"] * 3, "title": text[:80], "number": number}
        prompt = Prompt(text, facts=facts, answer=text[:200])
        texts = (f"{number} {k} " + "what was said. " * 13 for k in range(COMPLETIONS_PER_GROUP))
        groups.append(Group(prompt, tuple(Completion(prompt, text) for text in texts)))
    return groups


def _report(added: dict[str, list[Measured]], completions: int, repeats: int) -> int:
    print(f"{completions} completions, {repeats} repeats; microseconds a completion, median (lowest to highest)")
    print(f"{'':22}{'CPU':>26}{'wall':>30}")
    worst = 0.0
    for way, pairs in added.items():
        cpu, wall = zip(*pairs, strict=True)
        worst = max(worst, statistics.median(cpu))
        print(f"{way:22}{_shown(cpu):>26}{_shown(wall):>30}")
    verdict = "within" if worst <= BAR_MICROSECONDS else "over"
    print(f"highest median {worst:.1f}: {verdict} the bar of {BAR_MICROSECONDS:g}")
    return int(worst > BAR_MICROSECONDS)


def _shown(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
