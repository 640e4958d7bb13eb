"""A comparison of runs as lines for a terminal; `compare` and `sweep` print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copgkit.cli.terminal import bold, columns, width, wrapped

if TYPE_CHECKING:
    from copgkit.report import Comparison

_FIRST = ("reward/mean", "kl/mean", "win-rate/share", "length/mean")
_LONGEST = 40
_WIDE = 110  # characters that the table needs for intervals of every figure


def results(comparison: Comparison) -> list[str]:
    """The table of the figures that a reader looks for first, the best run and its caveats. The page has all."""
    from copgkit.report import plain

    lines = [bold("Results"), *_table(comparison), "", *wrapped(plain(comparison.headline))]
    for caveat in comparison.best.caveats if comparison.best else ():
        lines += wrapped(plain(caveat))
    return lines


def differing(comparison: Comparison) -> list[str]:
    """What differs, and its value in each run."""
    from copgkit.report import plain

    heads = ("", "", " | ".join(run.label for run in comparison.runs))
    rows = [(one.kind, one.what, " | ".join(map(_short, one.values))) for one in comparison.differences]
    return columns([tuple(map(plain, row)) for row in (heads, *rows)]) if rows else []


def _table(comparison: Comparison) -> list[str]:
    from copgkit.report import ends, label_of, number, plain

    shown = [name for name in _FIRST if name in comparison.columns]
    if _FIRST[0] not in shown:  # evaluated without a source that scores new text: what else there is to rank by
        others = [name for name in comparison.columns if name not in shown and name.endswith("/share")]
        shown += others[: len(_FIRST) - len(shown)]
    heads = ["", *(label_of(name) for name in shown), "stands"]
    rows = [heads]
    for run, place in zip(comparison.runs, comparison.places, strict=True):
        cells = []
        for name in shown:
            figure = run.figures.get(name)
            interval = "" if figure is None or not _has_room(name) else ends(figure, name)
            cells.append("" if figure is None else f"{number(figure.value, name)} {interval}".rstrip())
        rows.append([_short(plain(run.label)), *cells, place.standing])
    return columns(rows, right=range(1, len(shown) + 1))


def _has_room(name: str) -> bool:
    return name == "reward/mean" or width() >= _WIDE


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
