"""Several finished runs side by side: a table of all they measured, the plane of reward and KL, why they differ, and
what they wrote for the same prompts.

    comparison = compare(require_several([Path("runs/a"), Path("runs/b")]))
    write_comparison(Path("compare.html"), "a and b", comparison)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from copgkit.report.differences import ABSENT, Difference, differences
from copgkit.report.figures import Figure, plane_figure
from copgkit.report.finished import FinishedRun, paired_difference
from copgkit.report.front import Best, Place, best_of, places
from copgkit.report.front_figure import front_figure
from copgkit.report.pages import render
from copgkit.report.summary import Interval, ends, label_of, number, ordered
from copgkit.store.run_folder import write_whole

_PROMPTS_SHOWN = 5
_RUNS_SHOWN = 4  # of whose samples; more columns than that cannot be read side by side
_PATHS_DRAWN = 6  # as many as there are colours
_CHANGES_REWARD = r"rewards\[\d+\]\.(use|weight|clip|scale|shift)|scoring\.unfinished_penalty"


@dataclass(frozen=True)
class Comparison:
    """What is to be said of several runs."""

    runs: Sequence[FinishedRun]

    @cached_property
    def places(self) -> list[Place]:
        return places(self.runs)

    @cached_property
    def differences(self) -> list[Difference]:
        return differences(self.runs)

    @cached_property
    def best(self) -> Best | None:
        return best_of(self.runs, self.same_reward)

    @property
    def same_reward(self) -> bool:
        """Whether the reward is the same sum in all runs."""
        return not any(
            one.kind == "recipe" and ABSENT not in one.values and re.match(_CHANGES_REWARD, one.what)
            for one in self.differences
        )

    @property
    def columns(self) -> list[str]:
        """The figures that any of the runs has, by name without `eval/`."""
        return ordered({name for run in self.runs for name in run.figures})

    @property
    def pairs(self) -> list[tuple[str, str, Interval | None]]:
        """The paired difference in reward of every run to the first."""
        first, *others = self.runs
        return [(run.label, first.label, paired_difference(run, first)) for run in others]

    @property
    def headline(self) -> str:
        """The finding in one sentence."""
        if self.best is None:
            return f"{len(self.runs)} runs; the reward was not measured in any of them."
        kl = "" if self.best.kl is None else f" at a KL of {self.best.kl.value:.2f} nats"
        reward = self.best.reward
        shown = f"{reward.value:.3f} {ends(reward, 'reward/mean')}".rstrip()
        return f"Highest reward of {len(self.runs)}: {self.best.label}, {shown}{kl}."


def write_comparison(path: Path, title: str, comparison: Comparison) -> Path:
    """Writes the page and gives its path."""
    page = render(
        "comparison.html",
        title=title,
        headline=comparison.headline,
        caveats=comparison.best.caveats if comparison.best else (),
        figures=_figures(comparison),
        names=[label_of(name) for name in comparison.columns],
        table=[
            (place, [_cell(run.figures.get(name), name) for name in comparison.columns])
            for run, place in zip(comparison.runs, comparison.places, strict=True)
        ],
        start=[_cell(comparison.runs[0].start.get(name), name) for name in comparison.columns],
        pairs=[(one, other, _difference(gain)) for one, other, gain in comparison.pairs],
        runs=comparison.runs,
        differences=comparison.differences,
        samples=_samples(comparison),
        warnings=[(run.label, text) for run in comparison.runs for text in run.record.get("warnings", ())],
    )
    write_whole(path, [page])
    return path


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Everything as plain data."""
    best = comparison.best
    return {
        "runs": [
            {
                "label": place.label,
                "standing": place.standing,
                "figures": {name: vars(figure) for name, figure in run.figures.items()},
                "warnings": list(run.record.get("warnings", ())),
            }
            for run, place in zip(comparison.runs, comparison.places, strict=True)
        ],
        "reward_differences": [
            {"run": one, "to": other, "difference": None if gain is None else vars(gain)}
            for one, other, gain in comparison.pairs
        ],
        "differences": [vars(one) for one in comparison.differences],
        "same_reward": comparison.same_reward,
        "best": None if best is None else {"label": best.label, "caveats": list(best.caveats)},
    }


def verdict(gain: Interval | None) -> str:
    """Whether a paired difference is clear."""
    if gain is None:
        return "not the same prompts"
    return "clear" if gain.low > 0 or gain.high < 0 else "within the noise"


def _difference(gain: Interval | None) -> tuple[str, str]:
    if gain is None:
        return "", verdict(None)
    return f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]", verdict(gain)


def _cell(figure: Interval | None, name: str) -> tuple[str, str]:
    return ("", "") if figure is None else (number(figure.value, name), ends(figure, name))


def _figures(comparison: Comparison) -> list[Figure]:
    drawn = [front_figure(comparison.places)]
    if len(comparison.runs) <= _PATHS_DRAWN:
        drawn.append(plane_figure({run.label: run.rows for run in comparison.runs}))
    return [figure for figure in drawn if figure is not None]


def _samples(comparison: Comparison) -> list[dict[str, Any]]:
    """For the first prompts that all shown runs were evaluated on: what the reference and each of them wrote."""
    shown = _shown(comparison)
    by_run = [{(one["id"], one["prompt"]): one for one in run.samples} for run in shown]
    common = [key for key in (by_run[0] if by_run else {}) if all(key in samples for samples in by_run)]
    return [
        {
            "prompt": key[1],
            "texts": [
                ("reference", by_run[0][key]["reference_completion"], by_run[0][key]["reference_reward"]),
                *(
                    (run.label, samples[key]["completion"], samples[key]["reward"])
                    for run, samples in zip(shown, by_run, strict=True)
                ),
            ],
        }
        for key in common[:_PROMPTS_SHOWN]
    ]


def _shown(comparison: Comparison) -> list[FinishedRun]:
    """The runs whose samples are shown: all, or the best and others of the front, spread over it."""
    runs: Mapping[str, FinishedRun] = {run.label: run for run in comparison.runs if run.samples}
    if len(runs) <= _RUNS_SHOWN:
        return list(runs.values())
    front = [one.label for one in comparison.places if one.standing == "front" and one.label in runs]
    best = [comparison.best.label] if comparison.best and comparison.best.label in runs else []
    return [runs[label] for label in dict.fromkeys([*best, *front, *runs])][:_RUNS_SHOWN]
