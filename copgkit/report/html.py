"""`report.html`: one self-contained file. Everything in it is escaped: completions are foreign text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copgkit.report.figures import run_figures
from copgkit.report.summary import Summary, as_text
from copgkit.store.run_folder import RunFolder, write_whole
from copgkit.types import Curves, Sample

_FIRST_SAMPLES = 8
_EXTREME_SAMPLES = 4
# Escape codes could rewrite the screen of somebody who prints the file; other controls are no text either.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Pair:
    """A prompt with what the reference and the policy wrote for it. why: how it was chosen."""

    why: str
    ours: Sample
    theirs: Sample

    @property
    def gain(self) -> float | None:
        if self.ours.reward is None or self.theirs.reward is None:
            return None
        return self.ours.reward - self.theirs.reward


def write_report(
    folder: RunFolder,
    rows: Sequence[Mapping[str, float]],
    samples: Sequence[Sample],
    reference_samples: Sequence[Sample],
    summary: Summary,
    warnings: Sequence[str],
    record: Mapping[str, Any],
    curves: Sequence[Curves] = (),
) -> Path:
    """Writes the report and gives its path. record: what run.json holds."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters["plain"] = lambda text: _CONTROLS.sub("�", str(text))
    page = environment.get_template("report.html").render(
        title=folder.path.name,
        summary=summary,
        table=as_text(summary),
        warnings=warnings,
        figures=run_figures(rows, curves),
        pairs=chosen_pairs(samples, reference_samples),
        recipe=(folder.path / "recipe.yaml").read_text(encoding="utf-8"),
        record=record,
    )
    write_whole(folder.report, [page])
    return folder.report


def chosen_pairs(samples: Sequence[Sample], reference_samples: Sequence[Sample]) -> list[Pair]:
    """The first samples in order, then those that gained and lost most reward; no pair twice."""
    pairs = [Pair("in order", ours, theirs) for ours, theirs in zip(samples, reference_samples, strict=False)]
    first, rest = pairs[:_FIRST_SAMPLES], pairs[_FIRST_SAMPLES:]
    ranked = sorted((pair for pair in rest if pair.gain is not None), key=lambda pair: pair.gain or 0.0)
    lost, gained = ranked[:_EXTREME_SAMPLES], ranked[_EXTREME_SAMPLES:][-_EXTREME_SAMPLES:]
    return [
        *first,
        *(Pair("largest gain", pair.ours, pair.theirs) for pair in reversed(gained)),
        *(Pair("largest loss", pair.ours, pair.theirs) for pair in lost),
    ]
