"""Real kills: a process that is ended by SIGKILL at any moment, again and again, and the run that comes of it."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from resume_world import broken_off, outcome, tabular_recipe

import copgkit


def _in_a_process_of_its_own(recipe, output, seconds=None):
    """Runs the recipe in a fork, which is killed after so many seconds, and gives its exit status; None if killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            copgkit.runner.record.write_report = lambda *parts: None
            copgkit.run(recipe, output=output)
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_run_ends_byte_for_byte_as_it_would_have(tmp_path, kills):
    """Checkpoints after every second step, so that many kills fall into one."""
    recipe = tabular_recipe(tmp_path, train={"checkpoint_every": 2})
    broken_off(recipe, tmp_path / "warm", 10**9)  # imports what the forks then have
    began = time.monotonic()
    assert _in_a_process_of_its_own(recipe, tmp_path / "whole") == 0
    seconds, whole = time.monotonic() - began, outcome(tmp_path / "whole")
    chance, done, number = random.Random(0), 0, 0
    while done < kills:
        output = tmp_path / f"run-{number}"
        number += 1
        for _ in range(4):
            done += _in_a_process_of_its_own(recipe, output, chance.uniform(0, seconds)) is None
        assert _in_a_process_of_its_own(recipe, output) == 0
        assert outcome(output) == whole, (number, done)


def _command(recipe, output, processes):
    words = [sys.executable, "-m", "copgkit", "run", recipe, "--output", output, "--processes", processes, "--quiet"]
    return [str(word) for word in words]


@pytest.mark.slow
def test_of_two_processes_one_is_killed_and_the_run_goes_on_to_the_same_end(tmp_path):
    """20 kills of one of two gloo processes; the other leaves within 30 seconds."""
    recipe = tabular_recipe(tmp_path, train={"checkpoint_every": 2})
    subprocess.run(_command(recipe, tmp_path / "whole", 2), check=True, capture_output=True)
    whole, chance, kills = outcome(tmp_path / "whole"), random.Random(0), 0
    while kills < 20:
        output = tmp_path / f"run-{kills}"
        run = subprocess.Popen(_command(recipe, output, 2), stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(8, 16))
        members = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout.split()
        if members and run.poll() is None:
            os.kill(int(chance.choice(members)), signal.SIGKILL)
            assert run.wait(30) != 0
            kills += 1
        run.wait()
        subprocess.run(_command(recipe, output, 2), check=True, capture_output=True)
        assert outcome(output) == whole, kills
