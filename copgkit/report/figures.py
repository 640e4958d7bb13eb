"""The pictures of a report: which metrics belong together, and one sentence on how to read each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copgkit.report.drawing import INK, PALETTE, Point, draw_legend, draw_lines, finite, logarithmic, svg_image
from copgkit.report.plain import plain
from copgkit.types import Curves

Row = Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """A picture with its title and one sentence on how to read it. source: a data URI."""

    title: str
    note: str
    source: str


def run_figures(rows: Sequence[Row], extra: Sequence[Curves] = ()) -> list[Figure]:
    """All pictures that the rows have data for, and those that evaluators gave."""
    drawn = [draw(rows) for draw in _PICTURES] + [curves_figure(curves) for curves in extra]
    return [figure for figure in drawn if figure is not None]


def curves_figure(curves: Curves) -> Figure | None:
    """Lines with bands by label; None if none has a finite point. Positive values over many powers of ten get a
    logarithmic scale."""
    lines = {label: finite(Point(*point) for point in points) for label, points in curves.lines.items()}
    lines = {label: points for label, points in lines.items() if points}
    if not lines:
        return None
    heights = [point.y for points in lines.values() for point in points]
    wide = min(heights) > 0 and max(heights) > 100 * min(heights)

    def draw(axes: Any) -> None:
        logarithmic(axes, y=wide)
        draw_lines(axes, lines, marked=False)

    return Figure(curves.title, curves.note, svg_image(draw, curves.x_label, curves.y_label))


def plane_figure(runs: Mapping[str, Sequence[Row]]) -> Figure | None:
    """Reward against KL: the path of each run's evaluations, the reference at KL 0. None without two evaluations."""
    paths = {label: [row for row in rows if _has_place(row)] for label, rows in runs.items()}
    if not any(len(path) > 1 for path in paths.values()):
        return None

    def draw(axes: Any) -> None:
        for index, (label, path) in enumerate(paths.items()):
            _draw_path(axes, path, label, PALETTE[index % len(PALETTE)][0])
        if len(paths) > 1:
            draw_legend(axes, len(paths))

    note = "Each point is an evaluation, with its step. Up is better, left is nearer to the reference."
    return Figure(
        "Reward against KL", note, svg_image(draw, "KL to the reference (nats per completion)", "mean reward")
    )


def _has_place(row: Row) -> bool:
    return all(math.isfinite(row.get(name, math.nan)) for name in ("eval/kl/mean", "eval/reward/mean"))


def _draw_path(axes: Any, path: Sequence[Row], label: str, colour: str) -> None:
    points = [_point(row, "eval/reward/mean") for row in path]
    kl = [row["eval/kl/mean"] for row in path]
    errors = [[point.y - point.low for point in points], [point.high - point.y for point in points]]
    axes.errorbar(
        kl, [point.y for point in points], yerr=errors, color=colour, marker="o", label=plain(label), elinewidth=0.8
    )
    apart = max(1, math.ceil(len(path) / 8))  # labels of every step would lie on top of each other
    for index, (x, point) in enumerate(zip(kl, points, strict=True)):
        if index % apart == 0 or index == len(path) - 1:
            axes.annotate(
                f"{point.x:.0f}", (x, point.y), (6, -11), textcoords="offset points", fontsize=8, color=INK[0]
            )


def _point(row: Row, name: str) -> Point:
    """A metric of a row as a point; an end of its interval that is not finite is left at the value."""
    y = row[name]
    low, high = (row.get(f"{name}/{end}", y) for end in ("low", "high"))
    return Point(row["step"], y, low if math.isfinite(low) else y, high if math.isfinite(high) else y)


@dataclass(frozen=True)
class _Picture:
    """A picture of metrics over steps. label_of: the label of a metric that belongs here, None for one that does not.

    marked: evaluations, with points and bands; otherwise every step, with a running mean where there are many.
    """

    title: str
    note: str
    y_label: str
    label_of: Callable[[str], str | None]
    marked: bool = True
    baseline: bool = False
    fewest_lines: int = 1

    def __call__(self, rows: Sequence[Row]) -> Figure | None:
        """The picture, or None where fewer than two rows have something to show."""
        lines = {label: finite(_point(row, name) for row in rows if name in row) for name, label in self._names(rows)}
        lines = {label: points for label, points in lines.items() if len(points) > 1}
        if len(lines) < self.fewest_lines:
            return None
        return Figure(
            self.title, self.note, svg_image(lambda axes: self._draw(axes, lines), "optimiser step", self.y_label)
        )

    def _names(self, rows: Sequence[Row]) -> list[tuple[str, str]]:
        known = sorted({name for row in rows for name in row if not name.endswith(("/low", "/high"))})
        return [(name, label) for name in known if (label := self.label_of(name)) is not None]

    def _draw(self, axes: Any, lines: Mapping[str, Sequence[Point]]) -> None:
        if self.baseline:
            start = next(iter(lines.values()))[0].y
            axes.axhline(start, color=INK[0], linewidth=0.9, linestyle=(0, (2, 3)))
        draw_lines(axes, lines, self.marked)


def _only(**labels: str) -> Callable[[str], str | None]:
    """A label_of for the metrics given as label -> name."""
    by_name = {name: label.replace("_", " ") for label, name in labels.items()}
    return by_name.get


def _matching(start: str, end: str) -> Callable[[str], str | None]:
    """A label_of for all metrics between start and end; what lies between is the label."""
    return lambda name: (
        name[len(start) : len(name) - len(end)] if name.startswith(start) and name.endswith(end) else None
    )


_PICTURES: tuple[Callable[[Sequence[Row]], Figure | None], ...] = (
    _Picture(
        "Reward of generated completions",
        "Mean over held-out prompts with its 95 % interval. Dotted: the reference, where training began.",
        "mean reward",
        _only(reward="eval/reward/mean"),
        baseline=True,
    ),
    _Picture(
        "KL to the reference",
        "How far the policy has moved: the mean of ln π − ln π_ref over its own completions.",
        "nats per completion",
        _only(kl="eval/kl/mean"),
    ),
    lambda rows: plane_figure({"this run": rows}),
    _Picture(
        "Shares of the completions",
        "With 95 % intervals. A measure that no reward sees should not fall.",
        "share",
        _matching("eval/", "/share"),
    ),
    _Picture(
        "Likeness to the known answers",
        "No reward sees these. If they fall while the reward rises, the reward is being gamed.",
        "ROUGE F1",
        _matching("eval/rouge/", ""),
    ),
    _Picture(
        "Reward sources",
        "Raw mean of each source over generated completions, before weights. One may pay for another.",
        "raw score",
        _matching("eval/", "/raw-mean"),
        fewest_lines=2,  # a single source is the reward itself
    ),
    _Picture(
        "Length",
        "Words in generated completions. A steady drift says that the reward prefers a length.",
        "words",
        _only(length="eval/length/mean"),
    ),
    _Picture(
        "Residual of the optimality condition",
        "Spread of R − β·h within groups of the training data. It is 0 at the optimum.",
        "units of reward",
        _only(residual="train/residual/rms"),
        marked=False,
    ),
    _Picture(
        "Best and worst completion",
        "Their log-probability in training. The gap should widen; both may fall, but not far.",
        "ln π (nats)",
        _only(best="train/log-prob-best/mean", worst="train/log-prob-worst/mean"),
        marked=False,
    ),
    _Picture("Loss", "Of each step's groups, before the step.", "loss", _only(loss="train/loss/mean"), marked=False),
    _Picture(
        "Gradient norm",
        "Before clipping. Spikes mean a learning rate at its limit.",
        "norm",
        _only(norm="train/gradient-norm/value"),
        marked=False,
    ),
)
