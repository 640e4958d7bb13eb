"""The pictures of a report, each an SVG image as a data URI. No global state of matplotlib is touched."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copgkit.types import Curves

Row = Mapping[str, float]

# Okabe and Ito's colours, told apart with every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclass(frozen=True)
class Figure:
    """A picture with its title and one sentence on how to read it. source: a data URI."""

    title: str
    note: str
    source: str


def run_figures(rows: Sequence[Row], extra: Sequence[Curves] = ()) -> list[Figure]:
    """All pictures that the rows have data for, and those that evaluators gave."""
    drawn = [draw(rows) for draw in _PICTURES]
    return [figure for figure in drawn if figure is not None] + [curves_figure(curves) for curves in extra]


def curves_figure(curves: Curves) -> Figure:
    """Lines with bands by label."""

    def draw(axes: Any) -> None:
        for colour, (label, points) in zip(_cycle(len(curves.lines)), curves.lines.items(), strict=True):
            xs, ys, lows, highs = zip(*points, strict=True)
            axes.plot(xs, ys, color=colour, label=label)
            axes.fill_between(xs, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.legend(frameon=False, fontsize=8)

    return Figure(curves.title, curves.note, _svg(draw, curves.x_label, curves.y_label))


def plane_figure(runs: Mapping[str, Sequence[Row]]) -> Figure | None:
    """Reward against KL: the path of each run's evaluations, the reference at KL 0."""
    paths = {
        label: [row for row in rows if "eval/reward/mean" in row and "eval/kl/mean" in row]
        for label, rows in runs.items()
    }
    if not any(len(path) > 1 for path in paths.values()):
        return None

    def draw(axes: Any) -> None:
        for colour, (label, path) in zip(_cycle(len(paths)), paths.items(), strict=True):
            kl, reward = ([row[name] for row in path] for name in ("eval/kl/mean", "eval/reward/mean"))
            below = [row["eval/reward/mean"] - row["eval/reward/mean/low"] for row in path]
            above = [row["eval/reward/mean/high"] - row["eval/reward/mean"] for row in path]
            axes.errorbar(kl, reward, yerr=[below, above], color=colour, marker="o", ms=4, lw=1.2, label=label)
            for row in path:
                place = (row["eval/kl/mean"], row["eval/reward/mean"])
                axes.annotate(f"{row['step']:.0f}", place, (5, -10), textcoords="offset points", fontsize=7)
        if len(paths) > 1:
            axes.legend(frameon=False, fontsize=8)

    note = (
        "Each point is an evaluation by generation (small numbers: steps). Up is better; left is nearer the reference."
    )
    return Figure("Reward–KL plane", note, _svg(draw, "KL to the reference (nats per completion)", "mean reward"))


def _line_figure(title: str, note: str, y_label: str, *names: str, band: bool = False) -> Callable[..., Figure | None]:
    """A picture of some metrics over steps, with their intervals if band; None where there are no such metrics."""

    def picture(rows: Sequence[Row]) -> Figure | None:
        series = {name: [row for row in rows if name in row] for name in names}
        series = {name: points for name, points in series.items() if len(points) > 1}
        if not series:
            return None

        def draw(axes: Any) -> None:
            for colour, (name, points) in zip(_cycle(len(series)), series.items(), strict=True):
                xs, ys = [row["step"] for row in points], [row[name] for row in points]
                axes.plot(xs, ys, color=colour, label=name, marker="o" if band else None, ms=4)
                if band:
                    lows, highs = ([row.get(f"{name}/{end}", row[name]) for row in points] for end in ("low", "high"))
                    axes.fill_between(xs, lows, highs, color=colour, alpha=0.15, linewidth=0)
            if len(series) > 1:
                axes.legend(frameon=False, fontsize=8)

        return Figure(title, note, _svg(draw, "optimiser step", y_label))

    return picture


def _shares(rows: Sequence[Row]) -> Figure | None:
    names = sorted({name for row in rows for name in row if name.startswith("eval/") and name.endswith("/share")})
    note = "Shares of generated completions, with 95 % intervals. Measures that no reward sees should not fall."
    return _line_figure("Shares", note, "share", *names, band=True)(rows)


def _plane(rows: Sequence[Row]) -> Figure | None:
    return plane_figure({"this run": rows})


_PICTURES: tuple[Callable[[Sequence[Row]], Figure | None], ...] = (
    _line_figure(
        "Reward of generated completions",
        "Mean over held-out prompts with its 95 % interval; step 0 is the reference.",
        "reward",
        "eval/reward/mean",
        band=True,
    ),
    _line_figure(
        "KL to the reference",
        "Mean of ln π − ln π_ref over the policy's own completions, in nats per completion.",
        "nats",
        "eval/kl/mean",
        band=True,
    ),
    _plane,
    _line_figure(
        "Residual of the optimality condition",
        "Root mean variance of R − β·h within groups of the training data: 0 at the optimum, where it is constant.",
        "units of reward",
        "train/residual/rms",
    ),
    _shares,
    _line_figure(
        "Log-probability of the best and the worst completion",
        "Only differences are constrained: both may fall (likelihood displacement). Watch it if both fall far.",
        "ln π (nats)",
        "train/log-prob-best/mean",
        "train/log-prob-worst/mean",
    ),
    _line_figure("Length", "Words in generated completions.", "words", "eval/length/mean", band=True),
    _line_figure(
        "Gradient norm",
        "Before clipping. Spikes mean a learning rate at its limit.",
        "norm",
        "train/gradient-norm/value",
    ),
)


def _svg(draw: Callable[[Any], None], x_label: str, y_label: str) -> str:
    """One picture as a data URI; the same data gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    style = {"svg.hashsalt": "copgkit", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=(5.2, 3.1), layout="constrained")
        axes = canvas.subplots()
        draw(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(alpha=0.2)
        file = io.BytesIO()
        FigureCanvasSVG(canvas).print_svg(file, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def _cycle(size: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(size)]
