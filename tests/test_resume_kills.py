"""Real kills: a process that is ended by SIGKILL at any moment, again and again, and the run that comes of it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import count

import pytest
from kill_world import Diary, forked, without_report
from resume_world import broken_off, outcome, tabular_recipe, worded_recipe

import copgkit

WORLDS = {
    "a table": (tabular_recipe, {"scored"}),
    "a language model": (worded_recipe, {"written", "scored", "reference"}),
}
"""Recipes, and what of their work is kept as it comes."""


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("world", WORLDS)
def test_killed_at_random_moments_a_run_ends_byte_for_byte_as_it_would_have(
    tmp_path, tiny_policy_folder, monkeypatch, world, kills
):
    """Half of the kills come at any moment, half while a checkpoint is written. Nothing that was kept is done again."""
    without_report(monkeypatch)
    write, works = WORLDS[world]
    recipe = write(tmp_path, tiny_policy_folder, train={"checkpoint_every": 2}, scoring={"store": None})
    broken_off(recipe, tmp_path / "warm", 10**9)  # imports what the forks then have
    began = time.monotonic()
    with forked(copgkit.run, recipe, (), tmp_path / "whole") as process:
        assert process.end() == 0
    seconds, whole = time.monotonic() - began, outcome(tmp_path / "whole")
    chance, done, into_a_save, again, number = random.Random(0), 0, 0, Counter(), 0
    while done < kills:
        output, diary = tmp_path / f"run-{number}", Diary(tmp_path / f"diary-{number}")
        number += 1
        with monkeypatch.context() as patched:
            diary.is_kept_of(patched)
            status = None
            while status != 0:
                with forked(copgkit.run, recipe, (), output, log=tmp_path / "errors") as process:
                    if done >= kills:
                        status = process.end()
                    elif chance.random() < 0.5:
                        status = process.ends_by(signal.SIGKILL, chance.uniform(0, seconds))
                    else:
                        _wait_for_a_save(process, output)
                        status = process.ends_by(signal.SIGKILL, chance.uniform(0, 0.02))
                    assert status in (0, -signal.SIGKILL), process.said()
                done += status != 0
                into_a_save += bool(list(output.glob("checkpoints/.*")))
        assert outcome(output) == whole, (number, done)
        assert not (output / "checkpoints").exists()
        assert diary.done_twice() == []
        begun = Counter(name for name in diary.begun() if name.split()[0] in works)
        assert {name.split()[0] for name in begun} == works
        again.update(name.split()[0] for name, times in begun.items() for _ in range(times - 1))
    print(f"{done} kills in {number} runs, {into_a_save} while a checkpoint was written; in flight then: {dict(again)}")


def _wait_for_a_save(process, output):
    """Until the process writes a checkpoint, or has ended."""
    while not process.has_ended() and not list(output.glob("checkpoints/.tmp-*")):
        time.sleep(0.0005)


def _command(recipe, output):
    return [sys.executable, "-m", "copgkit", "run", recipe, "--output", output, "--processes", "2", "--quiet"]


@pytest.mark.slow
def test_of_two_processes_one_is_killed_and_the_run_goes_on_to_the_same_end(tmp_path):
    """20 kills of one of two gloo processes, half of them at any moment of a run and half after it has begun to work;
    all others leave within 30 seconds."""
    recipe = tabular_recipe(tmp_path, train={"checkpoint_every": 2})
    began = time.monotonic()
    starting = _seconds_until_work(subprocess.Popen(_command(recipe, tmp_path / "whole")), tmp_path / "whole")
    whole, seconds, chance, leaving = outcome(tmp_path / "whole"), time.monotonic() - began, random.Random(0), []
    for number in count():
        if len(leaving) == 20:
            break
        output = tmp_path / f"run-{number}"
        run = subprocess.Popen(_command(recipe, output), stderr=subprocess.DEVNULL)
        if number % 2:
            _wait_for_work(run, output)
            time.sleep(chance.uniform(0, seconds - starting))
        else:
            time.sleep(chance.uniform(0, seconds))
        members = _children(run.pid)
        if len(members) == 2 and not (output / "run.json").exists():
            os.kill(chance.choice(members), signal.SIGKILL)
            killed = time.monotonic()
            assert run.wait(30) == 1
            leaving.append(time.monotonic() - killed)
            assert [pid for pid in members if os.path.exists(f"/proc/{pid}")] == []
        assert run.wait(120) in (0, 1)
        again = subprocess.run(_command(recipe, output), capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        assert outcome(output) == whole, number
    print(f"20 kills; the other process had left after {max(leaving):.1f} s at most")


def _seconds_until_work(run, output):
    began = time.monotonic()
    _wait_for_work(run, output)
    until = time.monotonic() - began
    assert run.wait(120) == 0
    return until


def _wait_for_work(run, output):
    """Until the run has made its folder, or has ended."""
    while run.poll() is None and not (output / "started.json").exists():
        time.sleep(0.05)


def _children(pid):
    return [int(word) for word in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True).stdout.split()]
