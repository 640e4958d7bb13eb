"""The picture of the Pareto front: where each run ended on the plane of reward and KL, with its name beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from copgkit.report.drawing import INK, PALETTE, svg_image
from copgkit.report.figures import Figure
from copgkit.report.front import Place, front_of
from copgkit.report.labels import Box, place_labels
from copgkit.report.plain import plain
from copgkit.report.summary import Interval

_NOTE = (
    "The end of each run, with 95 % intervals. Dashed and blue: the front, where no other has as much reward at no"
    " more KL. Green: another has more reward at no more KL, but not clearly. Grey: clearly."
)
_COLOURS_OF: dict[str, int] = {"front": 0, "within noise": 2, "beaten": 5, "unknown": 5}
_LETTERS, _LETTER_WIDTH, _LINE = 7.5, 0.6, 1.2  # points; parts of them. Readers have fonts of their own: generous
_BESIDE = 8.0  # points; a label farther away is joined to its point by a line
_Known = tuple[Place, Interval, Interval]


def front_figure(found: Sequence[Place]) -> Figure | None:
    """Reward against KL at the end of each run, with both intervals; the front as a line. None below two places."""
    known = [(one, one.reward, one.kl) for one in found if one.reward is not None and one.kl is not None]
    if len(known) < 2:
        return None

    def draw(axes: Any) -> None:
        front = [(kl.value, reward.value) for one in front_of(found) if (reward := one.reward) and (kl := one.kl)]
        axes.plot(*zip(*front, strict=True), color=INK[0], linewidth=0.9, linestyle=(0, (4, 3)))
        for place, reward, kl in known:
            _draw_place(axes, place, reward, kl)
        axes.margins(0.08)  # room for names around the outermost
        _draw_labels(axes, known)

    picture = svg_image(draw, "KL to the reference (nats per completion)", "mean reward", tall=True)
    return Figure("Reward against KL", _NOTE, picture)


def _draw_place(axes: Any, place: Place, reward: Interval, kl: Interval) -> None:
    axes.errorbar(
        [kl.value],
        [reward.value],
        xerr=[[kl.value - kl.low], [kl.high - kl.value]],
        yerr=[[reward.value - reward.low], [reward.high - reward.value]],
        color=PALETTE[_COLOURS_OF[place.standing]][0],
        marker="o",
        elinewidth=0.8,
    )


def _draw_labels(axes: Any, known: Sequence[_Known]) -> None:
    """The name of each place, where it hides neither a point nor another name."""
    canvas = axes.figure
    canvas.draw_without_rendering()  # only the layout knows how far apart the points are on the page

    def on_page(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y)) * 72 / canvas.dpi
        return float(across), float(up)

    points = [on_page(kl.value, reward.value) for _, reward, kl in known]
    names = [plain(place.label) for place, _, _ in known]
    sizes = [(len(name) * _LETTERS * _LETTER_WIDTH, _LETTERS * _LINE) for name in names]
    ends = [((kl.low, reward.value), (kl.high, reward.value)) for _, reward, kl in known]
    ends += [((kl.value, reward.low), (kl.value, reward.high)) for _, reward, kl in known]
    bars = [Box(*on_page(*low), *on_page(*high)) for low, high in ends if all(map(math.isfinite, (*low, *high)))]
    frame = Box(*(float(end) * 72 / canvas.dpi for end in axes.bbox.extents))
    boxes = place_labels(points, sizes, frame, bars)
    for name, (_, reward, kl), point, box in zip(names, known, points, boxes, strict=True):
        _write(axes, name, (kl.value, reward.value), box.moved(-point[0], -point[1]))


def _write(axes: Any, name: str, place: tuple[float, float], box: Box) -> None:
    """The name in its box, which is given from its point; joined to it by a line where it is not beside it."""
    side = "left" if box.left > 0 else "right" if box.right < 0 else "center"
    x = {"left": box.left, "right": box.right, "center": (box.left + box.right) / 2}[side]
    line = {"arrowstyle": "-", "color": INK[0], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
    axes.annotate(
        name,
        place,
        (x, (box.bottom + box.top) / 2),
        textcoords="offset points",
        horizontalalignment=side,
        verticalalignment="center",
        arrowprops=line if math.hypot(*box.nearest(0, 0)) > _BESIDE else None,
        fontsize=_LETTERS,
        color=INK[0],
    )
