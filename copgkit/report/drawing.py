"""How the report draws: lines with bands as SVG, in colours for everybody and for light and dark pages.

No global state of matplotlib is touched. An image follows the reader's light or dark setting by itself: its colours
are CSS variables within the SVG.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from copgkit.report.plain import plain

# (light, dark). The first two are ink and grid; the others are Okabe and Ito's colours, told apart with every common
# colour blindness, lightened where they would be too dark on a dark page.
INK, _GRID = ("#3d4650", "#b4bec9"), ("#dfe3e8", "#333b44")
PALETTE = (
    ("#0072b2", "#56b4e9"), ("#d55e00", "#ff8a3c"), ("#009e73", "#2ed3a6"), ("#cc79a7", "#e39cc4"),
    ("#b07d00", "#e6b422"), ("#5b6570", "#9aa4af"),
)  # fmt: skip
_DASHES = ("-", "--", ":", "-.")


class Point(NamedTuple):
    """A place on a line, with the ends of its interval."""

    x: float
    y: float
    low: float
    high: float


def finite(points: Iterable[Point]) -> list[Point]:
    """The points that can be drawn."""
    return [point for point in points if all(map(math.isfinite, point))]


def draw_lines(axes: Any, lines: Mapping[str, Sequence[Point]], marked: bool) -> None:
    """One line for each label with its band; colours and dashes tell them apart."""
    for index, (label, points) in enumerate(lines.items()):
        colour, dash = PALETTE[index % len(PALETTE)][0], _DASHES[index // len(PALETTE) % len(_DASHES)]
        xs, ys, lows, highs = zip(*points, strict=True)
        smooth = running_mean(ys, len(ys) // 20) if not marked and lows == highs else list(ys)
        if smooth != list(ys):
            axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.3)
        axes.plot(xs, smooth, color=colour, linestyle=dash, label=plain(label), marker="o" if marked else None)
        if lows != highs:
            axes.fill_between(xs, lows, highs, color=colour, alpha=0.16, linewidth=0)
    if len(lines) > 1:
        draw_legend(axes, len(lines))


def draw_legend(axes: Any, size: int) -> None:
    """Labels above the picture, where they hide nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=min(size, 4), borderpad=0, handlelength=1.4)


def logarithmic(axes: Any, x: bool = False, y: bool = False) -> None:
    """Logarithmic scales with plain numbers at the powers of ten: labels hold no formulas here."""
    for wanted, name, axis in ((x, "x", axes.xaxis), (y, "y", axes.yaxis)):
        if wanted:
            getattr(axes, f"set_{name}scale")("log")
            axis.set_major_formatter(lambda value, position: f"{value:g}")
            axis.set_minor_formatter(lambda value, position: "")


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """The mean over each value and its `reach` neighbours on either side, fewer at the ends."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    ends = [(max(0, at - reach), min(len(values), at + reach + 1)) for at in range(len(values))]
    return [(sums[end] - sums[start]) / (end - start) for start, end in ends]


_STYLE: dict[str, Any] = {
    "svg.hashsalt": "copgkit",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK[0],
    "axes.labelcolor": INK[0],
    "axes.edgecolor": _GRID[0],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID[0],
    "grid.linewidth": 0.6,
    "xtick.color": INK[0],
    "ytick.color": INK[0],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def svg_image(draw: Callable[[Any], None], x_label: str, y_label: str, tall: bool = False) -> str:
    """One picture as a data URI; the same data gives the same bytes. tall: twice the size, for what needs room."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(8.6, 5.0) if tall else (5.4, 3.0), layout="constrained")
        canvas.patch.set_alpha(0)
        axes = canvas.subplots()
        axes.patch.set_alpha(0)
        axes.set_xlabel(plain(x_label))
        axes.set_ylabel(plain(y_label))
        draw(axes)  # last, since it may ask where on the page a point lies
        file = io.BytesIO()
        FigureCanvasSVG(canvas).print_svg(file, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return "data:image/svg+xml;base64," + base64.b64encode(_themed(file.getvalue().decode()).encode()).decode()


def _themed(svg: str) -> str:
    """The image with its colours as variables that follow the light or dark setting, and the reader's own font."""
    pairs = (INK, _GRID, *PALETTE)
    for index, (light, _) in enumerate(pairs):
        svg = svg.replace(light, f"var(--c{index}, {light})")
    dark = " ".join(f"--c{index}: {colour};" for index, (_, colour) in enumerate(pairs))
    style = f"<style>@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}</style>"
    svg = re.sub(r"(font: [^;\"]*?px) [^;\"]+", r"\1 system-ui, -apple-system, 'Segoe UI', sans-serif", svg)
    return re.sub(r"(<svg[^>]*>)", lambda opening: opening[0] + style, svg, count=1)
