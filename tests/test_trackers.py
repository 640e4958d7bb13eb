"""Trackers that hang, fail or are slow: a run never waits for them, and says what they did not get."""

import json
import socket
import threading
import urllib.request

import pytest
from accelerate import tracking as accelerate_tracking
from accelerate.tracking import GeneralTracker

import copgkit
from copgkit.engine import tracking


class Told(GeneralTracker):
    """Keeps what it is told; the others go wrong in some place."""

    name = "told"
    requires_logging_directory = False
    rows, ended = [], []

    def __init__(self, run_name, **options):
        super().__init__()
        Told.rows, Told.ended = [], []

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        raise AssertionError("a tracker has no business with the recipe")

    def log(self, values, step, **options):
        Told.rows.append((step, values))

    def finish(self):
        Told.ended.append(True)


RELEASED = threading.Event()
PATIENT = []


def wait(*given, **options):
    """Until the test is over; a run that waits for it is seen by the time it has had."""
    if not RELEASED.wait(120):
        PATIENT.append("somebody waited")


def fail(*given, **options):
    raise ConnectionError("503 from https://user:pa55word@tracker.example")


def post_to_a_server_that_never_answers(self, values, step, **options):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=lambda: (RELEASED.wait(120), silent.close()), daemon=True).start()
        urllib.request.urlopen(f"http://127.0.0.1:{silent.getsockname()[1]}", json.dumps(values).encode(), timeout=120)
    PATIENT.append("somebody waited")


BROKEN = {
    "hangs at the start": {"__init__": wait},
    "hangs at a row": {"log": wait},
    "hangs at the end": {"finish": wait},
    "raises at the start": {"__init__": fail},
    "raises at a row": {"log": fail},
    "raises at the end": {"finish": fail},
    "its server never answers": {"log": post_to_a_server_that_never_answers},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a bandit with a tracker of this kind."""
    RELEASED.clear()
    PATIENT.clear()
    monkeypatch.setattr(tracking, "_PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr("copgkit.report.html.run_figures", lambda rows, curves: [])
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"prompt": f"{n}", "completions": ["a", "b"], "scores": {"s": [1, 0]}}) + "\n" for n in range(40)
        )
    )
    (tmp_path / "r.yaml").write_text(
        "policy: {use: tabular, arms: [a, b]}\n"
        "prompts: {use: jsonl, options: {path: rows.jsonl}}\n"
        "sampler: {use: recorded}\n"
        "rewards: [{use: recorded, options: {column: s}}]\n"
        "train: {groups_per_step: 1, trackers: [told]}\n"
    )

    def running(**methods):
        kind = type("Kind", (Told,), methods)
        monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "told", kind)
        return copgkit.run(tmp_path / "r.yaml", output=tmp_path / "out")

    yield running
    RELEASED.set()


def test_a_tracker_gets_every_row_in_order_and_is_ended(run):
    result = run()
    assert not any("tracker" in warning for warning in result.warnings)
    steps = [step for step, values in Told.rows if "train/loss/mean" in values]
    assert steps == list(range(1, 41))
    assert Told.ended == [True]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_run_does_not_wait_for_a_broken_tracker(run, kind):
    result = run(**BROKEN[kind])
    assert PATIENT == []
    assert result.steps == 40
    assert len([row for row in result.rows if "train/loss/mean" in row]) == 40
    assert json.loads((result.folder / "run.json").read_text())["steps"] == 40


def test_what_is_lost_is_said(run):
    told = copgkit.Progress()
    accelerator = _Accelerator(log=wait)
    trackers = tracking.Trackers(accelerator, "p", told.warning)
    for step in range(tracking._ROWS_WAITING + 10):
        trackers.log({"x": 1.0}, step)
    trackers.close()
    assert PATIENT == []
    (warning,) = told.warnings
    assert "they did not keep up" in warning


def test_a_tracker_that_fails_is_said_and_left(run):
    told = copgkit.Progress()
    trackers = tracking.Trackers(_Accelerator(log=fail), "p", told.warning)
    trackers.log({"x": 1.0}, 1)
    trackers._thread.join(5)
    trackers.log({"x": 1.0}, 2)
    trackers.close()
    (warning,) = told.warnings
    assert "ConnectionError: 503" in warning
    assert "The run goes on without them" in warning


def test_the_patience_is_five_seconds():
    assert tracking._PATIENCE_SECONDS == 5.0


class _Accelerator:
    is_main_process, log_with = True, ["told"]

    def __init__(self, log):
        self.trackers = []
        self.log = log

    def init_trackers(self, project):
        pass
