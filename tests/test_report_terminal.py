"""What a run says while it runs: plain lines for files, bars for people, and never anything that steers a terminal."""

import io
import subprocess
import sys

import pytest

from copgkit.report.terminal import BarProgress, LineProgress, _duration, make_progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def work(progress):
    with progress.phase("train", total=4, unit="steps") as phase:
        for step in range(4):
            phase.advance(1, reward=step / 2, kl=1.0)
            if step == 1:
                with progress.phase("evaluate: generate", total=2, unit="prompts") as inner:
                    inner.advance(2)
                progress.warning("beta: too small\x1b[2J")
                progress.warning("beta: too small\x1b[2J")
    progress.message("saved [bold]here[/bold]")


def lines_of(stream):
    return stream.getvalue().splitlines()


def test_plain_lines_tell_phases_within_phases_warnings_and_figures():
    stream = io.StringIO()
    work(make_progress(stream=stream))
    lines = lines_of(stream)
    assert lines[:2] == ["train: 4 steps", "evaluate: generate: 2 prompts"]
    assert lines[2].startswith("evaluate: generate: 2 prompts in 0.0 s")
    assert lines[3] == "warning: beta: too small\ufffd[2J"
    assert lines[4].startswith("train: 4 steps in ")
    assert lines[4].endswith(", reward 1.500, kl 1.000")
    assert lines[5:] == ["saved [bold]here[/bold]"]


def test_a_long_phase_says_every_few_seconds_how_far_it_is(monkeypatch):
    clock = iter([0.0, 3.0, 6.0, 7.0, 12.0, 13.0, 14.0])
    monkeypatch.setattr("copgkit.report.terminal.time.perf_counter", lambda: next(clock))
    stream = io.StringIO()
    progress = LineProgress(stream, every=5.0)
    with progress.phase("train", total=5, unit="steps") as phase:
        for _ in range(5):
            phase.advance(1, reward=2.0)
    assert lines_of(stream) == [
        "train: 5 steps",
        "train: 2/5 steps, reward 2.000, 9.0 s left",
        "train: 4/5 steps, reward 2.000, 3.0 s left",
        "train: 5 steps in 14.0 s, reward 2.000",
    ]


def test_a_phase_of_unknown_length_is_told_too():
    stream = io.StringIO()
    progress = LineProgress(stream, every=0.0)
    with progress.phase("read") as phase:
        phase.advance(3)
    lines = lines_of(stream)
    assert lines[:2] == ["read", "read: 3"]
    assert lines[2].startswith("read: 3 in ")


def test_quiet_leaves_the_warnings_alone():
    stream = Terminal()
    work(make_progress(quiet=True, stream=stream))
    assert lines_of(stream) == ["warning: beta: too small\ufffd[2J"]


@pytest.mark.parametrize("make", [LineProgress, BarProgress])
def test_warnings_are_kept_once_each_for_the_report(make):
    progress = make(Terminal())
    work(progress)
    assert progress.warnings == ["beta: too small\x1b[2J"]


def test_a_terminal_gets_bars_and_every_phase_leaves_a_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    progress = make_progress(stream=stream)
    assert isinstance(progress, BarProgress)
    work(progress)
    text = stream.getvalue()
    assert "train\x1b[0m: 4 steps in " in text
    assert "saved [bold]here[/bold]" in text
    assert "\x1b[1;33mwarning: " in text
    assert "small\x1b[2J" not in text


def test_no_color_is_respected(monkeypatch):
    import re

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    work(make_progress(stream=stream))
    assert "warning: " in stream.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", stream.getvalue())


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_progress(stream=Terminal()), LineProgress)


@pytest.mark.parametrize("make", [LineProgress, BarProgress])
def test_a_fault_within_a_phase_passes_through_and_the_bars_are_gone(make):
    stream = Terminal()
    progress = make(stream)
    with pytest.raises(ZeroDivisionError), progress.phase("train", total=2), progress.phase("inner"):
        raise ZeroDivisionError
    assert "in 0.0 s" not in stream.getvalue()
    with progress.phase("again", total=1) as phase:
        phase.advance()
    assert "again: 1 in 0.0 s" in stream.getvalue().replace("\x1b[32m", "").replace("\x1b[0m", "")


def test_a_stream_of_few_characters_gets_question_marks_instead_of_a_crash():
    raw = io.BytesIO()
    progress = LineProgress(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    progress.message("π → 日")
    assert raw.getvalue() == b"? ? ?\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.24, "4.2 s"), (60, "1 min 00 s"), (200, "3 min 20 s"), (7530, "2 h 05 min")]
)
def test_a_duration_is_said_as_people_say_it(seconds, text):
    assert _duration(seconds) == text


def test_the_report_imports_nothing_heavy_before_it_is_written():
    code = (
        "import sys, copgkit.report, copgkit.report.terminal;"
        "print([m for m in ('torch', 'transformers', 'matplotlib', 'rich', 'jinja2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
