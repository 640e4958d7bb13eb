"""The report is one file that loads nothing, shows everything, and runs nothing of what foreign text may hold."""

import base64
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from copgkit import Completion, Curves, Prompt, Sample, Score
from copgkit.report import summarise, write_report
from copgkit.report.drawing import Point, finite, running_mean
from copgkit.report.figures import curves_figure, plane_figure, run_figures
from copgkit.report.html import chosen_pairs
from copgkit.report.plain import plain
from copgkit.store import RunFolder

HOSTILE = (
    "</p><script>alert(1)</script><img src=http://evil/x onerror=alert(2)> \x1b]0;own\x07 \u202egnp.exe \ud800 &"
    " {{ 7*7 }} $\\nosuch{$"
)
ONCE = {
    "eval/kl/mean": 1.0, "eval/finished/share": 0.9, "eval/length/mean": 20.0, "eval/rouge/rouge1": 0.3,
    "eval/judge/raw-mean": 1.0, "eval/nli/raw-mean": 2.0, "train/residual/rms": 1.0, "train/log-prob-best/mean": -3.0,
    "train/log-prob-worst/mean": -4.0, "train/loss/mean": 1.0, "train/gradient-norm/value": 1.0,
}  # fmt: skip
ROWS = [
    ONCE
    | {
        "step": step,
        "eval/reward/mean": reward,
        "eval/reward/mean/low": reward - 0.1,
        "eval/reward/mean/high": reward + 0.1,
    }
    for step, reward in ((0, 0.0), (10, 1.0), (20, 2.0))
]


class Page(HTMLParser):
    """Collects what a page would load and what it is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        self.loads += [given[key] for key in ("src", "href", "data", "action", "srcset", "poster") if key in given]
        assert not any(key.startswith("on") for key in given)

    def handle_data(self, data):
        self.words.append(data)


def sample(reward, text="fine", prompt="p", scores=None):
    return Sample(Completion(Prompt(prompt), text), scores or {}, reward, 1.5)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a run whose texts are all hostile."""
    folder = RunFolder.create(tmp_path_factory.mktemp("out") / "<b>run")
    folder.write_recipe(f"version: 1\n# {HOSTILE}\n".encode("utf-8", "replace").decode())
    ours = [
        sample(1.0, HOSTILE, HOSTILE, {HOSTILE: Score.failed(HOSTILE), "quiet": Score.abstain(), "nli": Score(0.25)})
    ]
    theirs = [sample(0.5, HOSTILE)]
    curves = Curves(
        HOSTILE, HOSTILE, HOSTILE, {HOSTILE: [], "b <b>line</b>" + HOSTILE: [(0, 1, 0.5, 2), (1, 2, 1, 3)]}, HOSTILE
    )
    record = {"seed": 7, HOSTILE: HOSTILE, "versions": {"torch": "2.6", HOSTILE: HOSTILE}, "warnings": ["x"]}
    path = write_report(folder, ROWS, ours, theirs, summarise(ROWS, [0.0, 1.0]), [HOSTILE], record, [curves])
    assert path == folder.report
    return path.read_text(encoding="utf-8")


def test_the_report_loads_nothing_from_outside(report):
    loads = Page(report).loads
    assert len(loads) == 12
    assert all(load.startswith("data:image/svg+xml;base64,") for load in loads)
    assert "@import" not in report
    assert "url(" not in report
    assert "default-src 'none'" in report


def test_nothing_of_a_completion_is_run(report):
    page = Page(report)
    assert not {"script", "iframe", "object", "link", "b>"} & set(page.tags)
    assert page.tags.count("img") == 12
    text = "".join(page.words)
    assert "<script>alert(1)</script>" in text  # shown as it was written
    assert "{{ 7*7 }}" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", report)


def test_the_pictures_hold_no_foreign_markup(report):
    for load in Page(report).loads:
        picture = base64.b64decode(load.partition(",")[2]).decode()
        kinds = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(picture).iter()}
        assert kinds <= {"svg", "style", "defs", "g", "path", "use", "text", "tspan", "clipPath", "rect", "line"}
        assert "prefers-color-scheme: dark" in picture


def test_the_report_says_result_figures_scores_recipe_and_provenance(report):
    text = re.sub(r"\s+", " ", "".join(Page(report).words))
    for expected in (
        "Reward rose from 0.000 to 2.000", "before: 0.000", "[1.900, 2.100]", "+2.000", "Reward against KL",
        "Residual of the optimality condition", "reward 0.500", "nli 0.250", "quiet abstained", "failed: </p>",
        "ln π/π_ref +1.50", "version: 1", "seed", "2.6",
    ):  # fmt: skip
        assert expected in text


def test_a_run_without_evaluation_or_warnings_has_a_report_too(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_recipe("version: 1\n")
    text = write_report(folder, [], [], [], summarise([]), [], {}).read_text(encoding="utf-8")
    assert "the reward was not evaluated" in text
    assert "Warnings" not in text
    assert "<img" not in text


def test_samples_are_chosen_by_a_fixed_rule_and_none_twice():
    theirs = [sample(0.0, prompt=str(i)) for i in range(40)]
    ours = [sample(float(i - 30), prompt=str(i)) for i in range(40)]  # the reward rises by i - 30
    pairs = chosen_pairs(ours, theirs)
    chosen = [(pair.why, int(pair.ours.completion.prompt.text)) for pair in pairs]
    assert chosen == [
        *(("in order", i) for i in range(10)),
        *(("largest gain", i) for i in (39, 38, 37, 36, 35)),
        *(("largest loss", i) for i in (10, 11, 12, 13, 14)),
    ]


def test_equal_or_unknown_rewards_are_neither_gain_nor_loss():
    theirs = [sample(0.0) for _ in range(30)]
    ours = [sample(0.0) for _ in range(15)] + [sample(None) for _ in range(15)]
    assert {pair.why for pair in chosen_pairs(ours, theirs)} == {"in order"}


def test_the_same_data_gives_the_same_picture_and_matplotlib_keeps_its_settings():
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert run_figures(ROWS) == run_figures(ROWS)
    assert dict(matplotlib.rcParams) == before


def test_numbers_that_are_not_finite_are_left_out_of_the_pictures():
    bad = {"step": 30, "eval/reward/mean": math.nan, "eval/kl/mean": math.inf, "train/loss/mean": math.inf}
    titles = [figure.title for figure in run_figures([*ROWS, bad])]
    assert titles == [figure.title for figure in run_figures(ROWS)]
    assert len(titles) == 11
    assert finite([Point(0, math.nan, 0, 0), Point(1, 2, 1, 3)]) == [Point(1, 2, 1, 3)]


def test_a_single_point_is_no_curve():
    assert run_figures(ROWS[:1]) == []
    assert curves_figure(Curves("t", "x", "y", {"a": [], "b": [(0, math.nan, 0, 0)]})) is None


def test_a_single_reward_source_has_no_picture_beside_the_reward():
    rows = [{name: value for name, value in row.items() if "nli" not in name} for row in ROWS]
    assert {figure.title for figure in run_figures(ROWS)} - {figure.title for figure in run_figures(rows)} == {
        "Reward sources"
    }


def test_several_runs_share_one_plane():
    figure = plane_figure({"one": ROWS, "two": ROWS[:2]})
    picture = base64.b64decode(figure.source.partition(",")[2]).decode()
    assert ">one<" in picture
    assert ">two<" in picture


def test_a_running_mean_uses_fewer_neighbours_at_the_ends():
    assert running_mean([1.0, 2.0, 6.0, 3.0], 1) == pytest.approx([1.5, 3.0, 11 / 3, 4.5])
    assert running_mean([1.0, 5.0], 0) == [1.0, 5.0]


def test_plain_text_keeps_lines_and_accents_and_loses_what_steers():
    assert plain("é\tü\r\nß 日本 👍") == "é\tü\nß 日本 👍"
    assert plain("a\x1b[2Jb\u202ec\ud800\r") == "a\ufffd[2Jb\ufffdc\ufffd\ufffd"
