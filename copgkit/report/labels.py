"""Where the labels of points go, so that no label lies on another one or on a point.

    boxes = place_labels(points, sizes, frame)

Plain geometry in points (a 72nd of an inch), y upwards. Labels are placed one after the other, each at the nearest
place that is free: for the few that a picture holds, more is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

_POINT = 3.0  # half the side of the square around a point that labels keep off
_GAP = 4.5  # from a point to its label, where that is nearest
_RING = 8.0  # how much farther away each further round of tries is
_RINGS = 16
_SIDES = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))  # (across, up): right above comes first
_HIDES_A_BAR, _LATER_TRY = 1.0, 0.02  # what these cost, where hiding a label costs 100 and more


class Box(NamedTuple):
    """A rectangle, by its ends."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that two rectangles share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def meets(self, other: Box) -> bool:
        """Whether they touch; also for a rectangle without area, which is a line."""
        across = self.left <= other.right and other.left <= self.right
        return across and self.bottom <= other.top and other.bottom <= self.top

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)

    def moved(self, x: float, y: float) -> Box:
        return Box(self.left + x, self.bottom + y, self.right + x, self.top + y)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The place in the rectangle that is nearest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: Box,
    avoid: Sequence[Box] = (),
) -> list[Box]:
    """A rectangle of each label's size (width, height), in order, within the frame where there is room.

    avoid: what labels had better not hide, such as error bars; they do where nothing else is near.
    """
    points_taken = [Box(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points]
    placed: list[Box] = []
    for point, size in zip(points, sizes, strict=True):
        taken = [*points_taken, *placed]
        tries = enumerate(_around(point, size))
        *_, box = min((_cost(box, taken, avoid, frame) + _LATER_TRY * number, number, box) for number, box in tries)
        placed.append(box)
    return placed


def _cost(box: Box, taken: Sequence[Box], avoid: Sequence[Box], frame: Box) -> float:
    """A share of the label on another label, a point or outside counts far more than a bar that it hides."""
    bad = (sum(box.overlap(other) for other in taken) + box.area - box.overlap(frame)) / box.area
    return (100 + 100 * bad if bad > 0 else 0) + _HIDES_A_BAR * sum(box.meets(bar) for bar in avoid)


def _around(point: tuple[float, float], size: tuple[float, float]) -> Iterator[Box]:
    """Rectangles around the point, then farther and farther away."""
    (x, y), (width, height) = point, size
    for ring in range(_RINGS):
        far = _GAP + ring * _RING
        for across, up in _SIDES:
            left = x + (far if across > 0 else -far - width if across < 0 else -width / 2)
            bottom = y + (far if up > 0 else -far - height if up < 0 else -height / 2)
            yield Box(left, bottom, left + width, bottom + height)
