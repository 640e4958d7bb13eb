"""`report.html`: one self-contained file. Everything in it is escaped: completions are foreign text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copgkit.report.figures import run_figures
from copgkit.report.pages import render
from copgkit.report.summary import Line, Summary, as_cells, number
from copgkit.store.run_folder import RunFolder, write_whole
from copgkit.types import Curves, Sample

_FIRST_SAMPLES = 10
_EXTREME_SAMPLES = 5
_TILES = ("reward/mean", "kl/mean", "win-rate/share", "faithful/share", "finished/share", "length/mean")
_MOST_TILES = 5
_WIDE = ("overrides", "hashes", "code", "models")  # sections of run.json that need the whole width


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
    page = render(
        "report.html",
        title=folder.path.name,
        summary=summary,
        tiles=[(line, number(line.after.value, line.name)) for line in _tiles(summary)],
        number=number,
        table=as_cells(summary),
        warnings=warnings,
        figures=run_figures(rows, curves),
        pairs=chosen_pairs(samples, reference_samples),
        recipe=(folder.path / "recipe.yaml").read_text(encoding="utf-8"),
        provenance=list(_provenance(record)),
        wide=_WIDE,
    )
    write_whole(folder.report, [page])
    return folder.report


def chosen_pairs(samples: Sequence[Sample], reference_samples: Sequence[Sample]) -> list[Pair]:
    """The first samples in order, then those that gained and lost most reward; no pair twice.

    A fixed rule, so that nobody has picked the examples.
    """
    pairs = [Pair("in order", ours, theirs) for ours, theirs in zip(samples, reference_samples, strict=False)]
    first, rest = pairs[:_FIRST_SAMPLES], pairs[_FIRST_SAMPLES:]
    ranked = sorted(rest, key=lambda pair: pair.gain or 0.0)
    lost = [replace(pair, why="largest loss") for pair in ranked[:_EXTREME_SAMPLES] if (pair.gain or 0.0) < 0]
    gained = [replace(pair, why="largest gain") for pair in ranked[-_EXTREME_SAMPLES:] if (pair.gain or 0.0) > 0]
    return [*first, *reversed(gained), *lost]


def _tiles(summary: Summary) -> list[Line]:
    """The few figures that stand large at the top."""
    found = [summary.line(name) for name in _TILES]
    return [line for line in found if line is not None][:_MOST_TILES]


def _provenance(record: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """run.json as small tables: its plain entries first, then its sections, the widest last. The result stands at the
    top of the page, and what is a list has a part of the page to itself."""
    yield "run", [(name, value) for name, value in record.items() if _is_plain(value) and name != "result"]
    sections = [(name, value) for name, value in record.items() if isinstance(value, Mapping) and value]
    for name, section in sorted(sections, key=lambda each: each[0] in _WIDE):
        yield name, list(section.items())


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)
