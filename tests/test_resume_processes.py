"""Runs of two processes that are broken off together and taken up again, also where the weights are divided."""

from __future__ import annotations

import json
import os
import signal

import pytest
from process_world import in_processes
from resume_world import Killed, outcome, worded_recipe

import copgkit
from copgkit import CopgkitError
from copgkit.engine import ranks
from copgkit.engine.training import Training
from copgkit.interrupts import Interrupted

SETTINGS = {
    "all weights": {},
    "divided weights, a reference that follows": {"train": {"shard": True}, "reference": {"refresh_every": 2}},
    "divided adapters": {"train": {"shard": True}, "policy": {"lora": {"rank": 2}}},
    "divided 16-bit weights": {"train": {"shard": True}, "policy": {"dtype": "bfloat16"}},
}


def _run(recipe, output, dies_at, force=False):
    """Runs until the step of this number is to be taken, in every process; None for the whole run."""
    real = Training._take

    def take(self, examples):
        if self.step == dies_at:
            raise Killed
        return real(self, examples)

    Training._take = take
    try:
        copgkit.run(recipe, output=output, force_resume=force)
    except Killed:
        return False
    return True


@pytest.mark.parametrize("setting", SETTINGS)
def test_two_processes_go_on_to_the_same_end(tmp_path, tiny_policy_folder, setting):
    changes = SETTINGS[setting]
    recipe = worded_recipe(
        tmp_path, tiny_policy_folder, **changes | {"train": {"checkpoint_every": 1} | changes.get("train", {})}
    )
    assert in_processes(2, _run, recipe, tmp_path / "whole", None) == [True, True]
    assert in_processes(2, _run, recipe, tmp_path / "out", 3) == [False, False]
    assert in_processes(2, _run, recipe, tmp_path / "out", None) == [True, True]
    assert outcome(tmp_path / "out") == outcome(tmp_path / "whole")


def _signalled(recipe, output, who):
    """Runs until a step after which one of the processes is asked to end."""
    real = Training._take

    def take(self, examples):
        row = real(self, examples)
        if self.step == 2 and ranks.rank() == who:
            os.kill(os.getpid(), signal.SIGTERM)
        return row

    Training._take = take
    try:
        copgkit.run(recipe, output=output)
    except Interrupted:
        return True
    return False


@pytest.mark.parametrize("who", [0, 1])
def test_a_signal_to_one_process_saves_the_run_of_both(tmp_path, tiny_policy_folder, who):
    recipe = worded_recipe(tmp_path, tiny_policy_folder)
    assert in_processes(2, _signalled, recipe, tmp_path / "out", who) == [True, True]
    assert [path.name for path in (tmp_path / "out").glob("checkpoints/*")] == ["step-00000002"]
    assert in_processes(2, _run, recipe, tmp_path / "out", None) == [True, True]
    assert in_processes(2, _run, recipe, tmp_path / "whole", None) == [True, True]
    assert outcome(tmp_path / "out") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_is_refused_or_recorded(tmp_path, tiny_policy_folder, before, after):
    recipe = worded_recipe(tmp_path, tiny_policy_folder, train={"checkpoint_every": 1})
    out, said = tmp_path / "out", f"processes was {before} and is {after}"
    assert not any(in_processes(before, _run, recipe, out, 2))
    with pytest.raises(CopgkitError, match=said):
        in_processes(after, _run, recipe, out, None)
    assert all(in_processes(after, _run, recipe, out, None, True))
    record = json.loads((out / "run.json").read_text())
    assert record["changed_on_the_way"] == [said]
    assert (record["steps"], record["processes"]) == (4, after)
