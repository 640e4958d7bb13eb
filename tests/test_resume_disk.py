"""Disks that are really full: a file system of so many checkpoints, and what a run does that has no more room."""

import shutil
import subprocess

import pytest
from kill_world import without_report
from resume_world import Killing, broken_off, outcome, tabular_recipe

import copgkit
from copgkit.store import Checkpoints

pytestmark = pytest.mark.skipif(not shutil.which("mount"), reason="no mount here")

TABLE = {"policy": {"arms": ["a", "b", "c", *map(str, range(300))]}, "train": {"steps": 8, "checkpoint_every": 1}}
"""Checkpoints of 7 MB, beside which all other files of a run are next to nothing."""


@pytest.fixture
def disk(tmp_path):
    """disk(2.5, size) is a folder that is a file system of 2.5 times so many bytes."""
    folders = []

    def mounted(checkpoints, size):
        folder = tmp_path / f"disk-{checkpoints}"
        folder.mkdir()
        options = f"size={int(checkpoints * size) // 1024}k"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system can be mounted: {done.stderr.strip()}")
        folders.append(folder)
        return folder

    yield mounted
    for folder in folders:
        subprocess.run(["umount", folder], check=True)


def test_a_run_that_can_write_nothing_more_says_so_and_goes_on_when_there_is_room(
    tmp_path, monkeypatch, disk, copgkit_command
):
    without_report(monkeypatch)
    recipe = tabular_recipe(tmp_path)
    copgkit.run(recipe, output=tmp_path / "whole")
    small = disk(1, 120_000)
    for _ in range(2):
        status, _, err = copgkit_command("run", recipe, "--output", small / "out", "--quiet")
        assert status == 2
        assert "could not be written (No space left on device). Make room" in err.splitlines()[-1]
    subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
    copgkit.run(recipe, output=small / "out")
    assert outcome(small / "out") == outcome(tmp_path / "whole")


def _size(recipe, output):
    """Bytes of a checkpoint of this recipe."""
    assert broken_off(recipe, output, 30)
    newest = max(output.glob("checkpoints/step-*"))
    return sum(file.stat().st_size for file in newest.iterdir())


@pytest.mark.parametrize("looks_ahead", [True, False], ids=["free space is known", "free space is not what it seems"])
@pytest.mark.parametrize("checkpoints", [1.5, 2.5, 2.9])
def test_a_run_on_a_disk_of_few_checkpoints_ends_bit_for_bit_and_keeps_a_whole_one(
    tmp_path, monkeypatch, disk, checkpoints, looks_ahead
):
    """Also where it is killed on the way and goes on from what that disk holds. Where free space is not known before,
    as with a quota, the disk is full in the middle of a file."""
    without_report(monkeypatch)
    recipe = tabular_recipe(tmp_path, **TABLE)
    progress = Killing()
    copgkit.run(recipe, output=tmp_path / "whole", progress=progress)
    small = disk(checkpoints, _size(recipe, tmp_path / "sized"))
    if not looks_ahead:
        monkeypatch.setattr(Checkpoints, "_require_room", lambda checkpoints, size: None)
    assert broken_off(recipe, small / "out", progress.seen * 3 // 4)
    left = Checkpoints(small / "out/checkpoints", "", pytest.fail, any_run=True)
    assert left.newest() is not None
    assert (left.newest().name == "step-00000001") == (checkpoints < 2)
    assert not list(left.folder.glob(".*")), "no half of one"
    result = copgkit.run(recipe, output=small / "out")
    ours, theirs = outcome(small / "out"), outcome(tmp_path / "whole")
    del ours["training"], theirs["training"]  # the last checkpoint may not have had the room
    assert ours == theirs
    told = [warning for warning in result.warnings if "could not be written" in warning]
    assert len(told) == len({warning.split(":")[0] for warning in told})
    print(f"{checkpoints} checkpoints: {len(told)} of 8 could not be written")
    assert len(told) == (7 if checkpoints < 2 else 0), "of two, the older one makes room"
