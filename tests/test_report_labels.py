"""Labels of points keep off each other, off the points, and within the picture."""

import base64
import math
import random
import re
from itertools import combinations

import pytest

from copgkit.report.front import Place
from copgkit.report.front_figure import front_figure
from copgkit.report.labels import Box, place_labels
from copgkit.report.summary import Interval

FRAME = Box(0, 0, 580, 310)  # that of the picture
SIZE = (80, 9)


@pytest.mark.parametrize("seed", range(25))
def test_labels_of_a_crowd_hide_neither_each_other_nor_a_point(seed):
    """Nine points within the size of a few labels, as the rows of a sweep with three values of beta may lie."""
    chance = random.Random(seed)
    points = [(chance.gauss(290, 25), chance.gauss(155, 12)) for _ in range(9)]
    boxes = place_labels(points, [SIZE] * 9, FRAME)
    assert all(one.overlap(other) == 0 for one, other in combinations(boxes, 2))
    assert not any(box.left < x < box.right and box.bottom < y < box.top for box in boxes for x, y in points)


def test_a_label_alone_stands_right_above_its_point():
    (box,) = place_labels([(100, 100)], [SIZE], FRAME)
    assert (box.left, box.bottom) == pytest.approx((104.5, 104.5))
    assert (box.right - box.left, box.top - box.bottom) == pytest.approx(SIZE)


@pytest.mark.parametrize("corner", [(1, 1), (579, 1), (1, 309), (579, 309)])
def test_a_label_stays_within_the_picture(corner):
    (box,) = place_labels([corner], [SIZE], FRAME)
    assert box.overlap(FRAME) == pytest.approx(box.area)


def test_a_label_keeps_off_an_error_bar_where_there_is_room_and_hides_it_rather_than_another_label():
    bar = Box(50, 110, 250, 110)
    (box,) = place_labels([(100, 100)], [SIZE], FRAME, [bar])
    assert not box.meets(bar)
    everywhere = [Box(0, y, 580, y) for y in range(310)]
    first, second = place_labels([(100, 100), (101, 100)], [SIZE] * 2, FRAME, everywhere)
    assert first.overlap(second) == 0


def written(places):
    """Where each name stands in the picture of these places: its left end and its height."""
    picture = base64.b64decode(front_figure(places).source.partition(",")[2]).decode()
    texts = re.findall(r'<text style="[^"]*?text-anchor: (\w+)[^"]*" x="([\d.]+)" y="([\d.]+)"[^>]*>(run \d)<', picture)
    shift = {"start": 0, "middle": 0.5, "end": 1}
    return {name: (float(x) - 20 * shift[anchor], float(y)) for anchor, x, y, name in texts}


def test_the_names_of_runs_that_lie_together_can_all_be_read():
    def interval(value):
        return Interval(value, value - 0.2, value + 0.2)

    close = [Place(f"run {n}", interval(2 + n / 1000), interval(1 + n / 1000), "front") for n in range(3)]
    unknown = Place("run 4", Interval(2.0, -math.inf, math.inf), interval(1.0), "front")
    names = written([*close, unknown, Place("run 9", interval(5.0), interval(9.0), "front")])
    assert set(names) == {"run 0", "run 1", "run 2", "run 4", "run 9"}
    for (x, y), (other_x, other_y) in combinations(names.values(), 2):
        assert abs(y - other_y) > 7 or abs(x - other_x) > 20
