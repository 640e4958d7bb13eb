"""The evaluator `faithful`: the share of summaries that are true to the facts of their post, by `world.judge`.

No reward sees it, so it tells whether a higher learned reward means better summaries. A one-file plugin:
`plugins: [assets/faithfulness.py]` in a recipe.
"""

import math
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from copgkit import DataError, Estimate, Evaluation, Evaluator, Sample, hookimpl

sys.path.append(str(Path(__file__).parent))  # the world is a neighbouring file, not an installed package
import world


class Faithful(Evaluator):
    """The share of faithful summaries, and of each kind of fault, with Wilson's 95 % intervals."""

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        kinds = Counter(_kind(sample) for sample in evaluation.samples)
        faults = sorted(kind for kind in kinds if kind != "faithful")
        names = {"faithful/share": "faithful"} | {f"fault/{kind}": kind for kind in faults}
        return {name: share(kinds[kind], kinds.total()) for name, kind in names.items()}


def _kind(sample: Sample) -> str:
    completion = sample.completion
    if "problem" not in completion.prompt.facts:
        raise DataError(
            f"{completion.prompt.place}: no facts of the practice world. 'faithful' works on its posts only."
        )
    return world.judge(completion.text, completion.prompt.facts).kind if completion.finished else "unfinished"


def share(hits: int, n: int) -> Estimate:
    """hits / n with Wilson's score interval (Wilson 1927), z = 1.96."""
    z = 1.96
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return Estimate(hits / n, max(0.0, centre - half), min(1.0, centre + half), n)


@hookimpl
def register_evaluators(register):
    register("faithful", Faithful)
