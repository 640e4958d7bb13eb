"""Signals that ask a run to end, at any moment of it: it is saved, its exit status says so, and it loses nothing."""

import json
import os
import random
import threading
import time
from collections import Counter

import pytest
from kill_world import forked, without_report
from resume_world import broken_off, outcome, worded_recipe

from copgkit import interrupts
from copgkit.cli import main
from copgkit.engine.calling import Caller
from copgkit.engine.evaluation import Examination
from copgkit.engine.kept import KeptBatches
from copgkit.engine.training import Training
from copgkit.runner.phases import Run
from copgkit.store import Checkpoints

PHASES = {
    "start": (Run, "__init__"),
    "generation": (KeptBatches, "rows"),
    "scoring": (Caller, "scores"),
    "evaluation": (Examination, "hold"),
    "step": (Training, "_take"),
    "save": (Checkpoints, "publish"),
    "end": (Run, "_report"),
}
"""What a run does, and the method in which it does that."""


@pytest.mark.parametrize("signals", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_a_signal_at_any_moment_saves_the_run_and_ends_it_with_status_75(
    tmp_path, tiny_policy_folder, monkeypatch, signals
):
    """Each signal is sent at a random moment of a random pass of a phase, and up to four to each run."""
    without_report(monkeypatch)
    recipe = worded_recipe(tmp_path, tiny_policy_folder, train={"checkpoint_every": 2})
    broken_off(recipe, tmp_path / "warm", 10**9)
    with monkeypatch.context() as patched:
        _note_passes(patched, tmp_path / "passes")
        assert _run(recipe, tmp_path / "whole", tmp_path / "errors") == 0
    whole, passes = outcome(tmp_path / "whole"), _noted(tmp_path / "passes")
    chance, heard, number, kinds = random.Random(0), Counter(), 0, Counter()
    while heard.total() < signals:
        output = tmp_path / f"run-{number}"
        number += 1
        for _ in range(4):
            phase = min(PHASES, key=lambda phase: (heard[phase], chance.random()))
            kind = chance.choice(interrupts.SIGNALS)
            with monkeypatch.context() as patched:
                seconds = chance.choice([seconds for name, seconds in passes if name == phase])
                _send_at(patched, kind, phase, seconds, chance)
                _note_hearing(patched, tmp_path / "heard")
                status = _run(recipe, output, tmp_path / "errors")
            if not (tmp_path / "heard").exists():
                assert status == 0, (tmp_path / "errors").read_text()
                continue
            ((where, when),) = _noted(tmp_path / "heard")
            (tmp_path / "heard").unlink()
            assert status == interrupts.EXIT_STATUS, (where, kind, (tmp_path / "errors").read_text())
            assert time.time() - when < 10, where
            assert _saved_step(output) == _trained_step(output), where
            heard[where] += 1
            kinds[kind.name] += 1
        assert _run(recipe, output, tmp_path / "errors") == 0
        assert outcome(output) == whole, number
        assert not (output / "checkpoints").exists()
    print(f"{heard.total()} signals in {number} runs: {dict(heard)}; {dict(kinds)}")
    assert signals < 50 or set(PHASES) <= set(heard)


def _run(recipe, output, log):
    with forked(main, ["run", str(recipe), "--output", str(output), "--quiet"], log=log) as process:
        return process.end()


def _saved_step(folder):
    """Of the newest checkpoint; 0 without one. What a finished run has left is not asked for."""
    steps = [int(path.name.removeprefix("step-")) for path in folder.glob("checkpoints/step-*")]
    return max(steps, default=0)


def _trained_step(folder):
    """The last step that was taken; 0 where there is nothing to save, or nothing any more."""
    if not (folder / "metrics.jsonl").exists() or (folder / "run.json").exists():
        return _saved_step(folder)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return max((row["step"] for row in rows), default=0)


def _note_passes(patch, file):
    """Writes down how long each pass of each phase takes."""
    for phase, (owner, name) in PHASES.items():
        real = getattr(owner, name)

        def timed(*arguments, real=real, phase=phase, **more):
            began = time.monotonic()
            try:
                return real(*arguments, **more)
            finally:
                _note(file, phase, time.monotonic() - began)

        patch.setattr(owner, name, timed)


def _send_at(patch, kind, phase, seconds, chance):
    """Has a thread send the signal after some share of the time that a pass of the phase takes, in its n-th pass."""
    owner, name = PHASES[phase]
    real, left, after = getattr(owner, name), [chance.randrange(3)], chance.uniform(0, seconds)

    def alarmed(*arguments, **more):
        if left[0] == 0:
            threading.Timer(after, os.kill, (os.getpid(), kind)).start()
        left[0] -= 1
        return real(*arguments, **more)

    patch.setattr(owner, name, alarmed)


def _note_hearing(patch, file):
    """Writes down in which phase a signal was heard, and when."""
    real, phase_of = interrupts._hear, {(owner.__name__, name): phase for phase, (owner, name) in PHASES.items()}

    def hear(number, frame):
        where = "between"
        while frame is not None and where == "between":
            code = frame.f_code
            where = phase_of.get(tuple(code.co_qualname.split(".")[-2:]), "between")
            frame = frame.f_back
        _note(file, where, time.time())
        real(number, frame)

    patch.setattr(interrupts, "_hear", hear)


def _note(file, *facts):
    with file.open("a") as lines:
        lines.write(json.dumps(facts) + "\n")


def _noted(file):
    return [json.loads(line) for line in file.read_text().splitlines()]
