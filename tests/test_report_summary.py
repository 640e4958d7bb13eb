"""The table before and after, with numbers computed by hand."""

import io
import math

import pytest

from copgkit.report import summarise
from copgkit.report.summary import as_cells, as_text
from copgkit.report.terminal import print_summary

ROWS = [
    {"step": 0, "eval/reward/mean": 1.0, "eval/reward/mean/low": 0.9, "eval/reward/mean/high": 1.1,
     "eval/kl/mean": 0.0, "eval/finished/share": 0.5, "eval/rouge/rouge1": 0.25},
    {"step": 1, "train/loss/mean": 3.0},
    {"step": 10, "eval/reward/mean": 9.0},
    {"step": 20, "eval/reward/mean": 2.5, "eval/reward/mean/low": 2.25, "eval/reward/mean/high": 2.75,
     "eval/kl/mean": 12.5, "eval/kl/mean/low": 12.0, "eval/kl/mean/high": 13.0,
     "eval/finished/share": 0.25, "eval/rouge/rouge1": 0.5, "eval/judge/raw-mean": 1500.0},
    {"step": 24, "train/loss/mean": 1.0},
]  # fmt: skip


def cells_by_label(rows, **arguments):
    return {cells.label: cells for cells in as_cells(summarise(rows, **arguments))}


def test_the_first_and_the_last_evaluation_stand_side_by_side():
    table = cells_by_label(ROWS)
    assert table["reward"][1:] == ("1.000", "[0.900, 1.100]", "2.500", "[2.250, 2.750]", "+1.500", True)
    assert table["KL (nats)"][1:] == ("0.000", "", "12.50", "[12.00, 13.00]", "+12.50", True)
    assert table["finished"][1:] == ("50.0 %", "", "25.0 %", "", "-25.0 pp", True)


def test_a_figure_that_was_not_measured_before_has_no_difference():
    assert cells_by_label(ROWS)["judge (raw)"][1:] == ("", "", "1,500.0", "", "", False)


def test_the_reward_comes_first_and_every_figure_is_there():
    names = [line.name for line in summarise(ROWS).lines]
    assert names == ["reward/mean", "kl/mean", "finished/share", "judge/raw-mean", "rouge/rouge1"]


def test_the_gain_is_in_standard_deviations_of_the_reference():
    summary = summarise(ROWS, [0.0, 1.0, 2.0])  # their deviation is 1
    assert summary.gain == pytest.approx(1.5)
    assert "Reward rose from 1.000 to 2.500 (+1.50 standard deviations" in summary.headline
    assert "in 24 steps, at a KL of 12.50 nats per completion" in summary.headline
    assert as_cells(summary)[1].difference == "+1.50"
    assert summarise(ROWS, [2.0, 2.0]).gain is None


def test_a_change_within_the_noise_is_not_called_a_rise():
    rows = [dict(ROWS[0]), dict(ROWS[0]) | {"step": 5, "eval/reward/mean": 1.05}]
    assert "Reward did not clearly change: from 1.000 to 1.050" in summarise(rows).headline
    assert not cells_by_label(rows)["reward"].is_clear


def test_one_evaluation_has_no_before():
    summary = summarise(ROWS[:2])
    assert summary.lines[0].before is None
    assert summary.headline == "Trained for 1 steps; reward 1.000, evaluated once."


def test_a_run_without_evaluation_says_so():
    assert summarise([{"step": 3, "train/loss/mean": 1.0}]).headline.endswith("the reward was not evaluated.")
    assert summarise([]).steps == 0


def test_an_interval_of_unknown_width_is_not_shown():
    row = {"step": 0, "eval/reward/mean": 1.0, "eval/reward/mean/low": -math.inf, "eval/reward/mean/high": math.inf}
    assert cells_by_label([row])["reward"].after_interval == ""


def test_the_columns_of_the_plain_table_are_aligned():
    lines = as_text(summarise(ROWS, [0.0, 1.0, 2.0])).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 1 + 6


@pytest.mark.parametrize(("width", "shown"), [(120, True), (79, False)])
def test_a_narrow_terminal_gets_a_table_that_fits(width, shown):
    from rich.console import Console

    file = io.StringIO()
    print_summary(summarise(ROWS, [0.0, 1.0, 2.0]), Console(file=file, width=width, highlight=False))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("[0.900, 1.100]" in line for line in lines) == shown
    assert any("[2.250, 2.750]" in line for line in lines)
