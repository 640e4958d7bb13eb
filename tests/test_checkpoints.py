"""Checkpoints on disk: whole or not there, and damage is seen before anything is used."""

import errno
import hashlib
import json
import os
import random
import shutil
import socket

import pytest

from copgkit import CopgkitError
from copgkit.store import Checkpoints, RunLock, WrittenBatches, read_manifest


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def checkpoints(tmp_path, warnings):
    return Checkpoints(tmp_path / "checkpoints", "this run", warnings.append)


def write(number):
    """Writes a checkpoint of two files that only this number has."""

    def into(draft):
        (draft / "training.safetensors").write_bytes(random.Random(number).randbytes(2000))
        (draft / "run.json").write_text(f'{{"number": {number}}}')

    return into


def names(checkpoints):
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_the_newest_is_found_and_the_oldest_leave(checkpoints):
    assert checkpoints.newest() is None
    for step in (4, 8, 12):
        checkpoints.publish(step, write(step), 2000)
    assert checkpoints.newest().name == "step-00000012"
    assert names(checkpoints) == ["step-00000008", "step-00000012"]
    assert read_manifest(checkpoints.newest())["step"] == 12
    checkpoints.remove()
    assert not checkpoints.folder.exists()


def _damage(path, chance):
    """Flips a bit of a file, or cuts it, and gives the file."""
    file = chance.choice(sorted(path.iterdir()))
    content = bytearray(file.read_bytes())
    if chance.random() < 0.3:
        content = content[: chance.randrange(len(content))]
    else:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_every_flipped_bit_and_every_cut_is_seen_named_and_moved_aside(checkpoints, warnings, count):
    for step in (1, 2):
        checkpoints.publish(step, write(step), 2000)
    whole = checkpoints.folder.parent / "whole"
    shutil.copytree(checkpoints.folder, whole)
    chance = random.Random(0)
    for number in range(count):
        file = _damage(checkpoints.folder / "step-00000002", chance)
        assert checkpoints.newest().name == "step-00000001", (number, file)
        assert file.name in warnings[-1]
        assert len(warnings) == number + 1
        if file.name != "MANIFEST.json":
            assert warnings[-1].count("sha256") == 1
        assert names(checkpoints) == [".bad-step-00000002", "step-00000001"]
        shutil.rmtree(checkpoints.folder)
        shutil.copytree(whole, checkpoints.folder)


def test_missing_foreign_and_renamed_files_are_named_and_the_one_before_is_used(checkpoints, warnings):
    for step in (1, 2):
        checkpoints.publish(step, write(step), 2000)
    newest = checkpoints.folder / "step-00000002"
    (newest / "run.json").unlink()
    assert checkpoints.newest().name == "step-00000001"
    assert "run.json is missing" in warnings[-1]
    checkpoints.publish(3, write(3), 2000)
    (checkpoints.folder / "step-00000003/foreign.bin").write_bytes(b"")
    assert checkpoints.newest().name == "step-00000001"
    assert "foreign.bin is not one of its files" in warnings[-1]
    (checkpoints.folder / "step-00000001").rename(checkpoints.folder / "step-00000009")
    assert checkpoints.newest() is None
    assert "it was renamed: it is of step 1" in warnings[-1]


def test_a_checkpoint_of_another_run_is_refused(checkpoints, tmp_path, warnings):
    checkpoints.publish(1, write(1), 2000)
    other = Checkpoints(checkpoints.folder, "another run", warnings.append)
    with pytest.raises(CopgkitError, match="another recipe, data or model"):
        other.newest()
    assert Checkpoints(checkpoints.folder, "another run", warnings.append, any_run=True).newest() is not None


def test_a_disk_that_is_full_leaves_no_half_of_a_checkpoint(checkpoints, monkeypatch):
    checkpoints.publish(1, write(1), 2000)

    def full(draft):
        write(2)(draft)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        checkpoints.publish(2, full, 2000)
    assert names(checkpoints) == ["step-00000001"]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10_000, 8_000, 2_000))
    with pytest.raises(OSError, match="are needed and"):
        checkpoints.publish(2, write(2), 2000)
    assert names(checkpoints) == ["step-00000001"]


class Dead(BaseException):
    pass


CALLS = [(os, "fsync"), (os, "rename"), (os, "mkdir"), (os, "rmdir"), (os, "unlink")]


def test_killed_before_any_system_call_of_a_save_one_whole_checkpoint_is_left(tmp_path, monkeypatch, warnings):
    """What a kill leaves is what was there before the call: nothing that `publish` does afterwards may be relied on."""
    survived = set()
    for dies_at in range(100):
        folder = tmp_path / str(dies_at)
        checkpoints = Checkpoints(folder, "this run", warnings.append)
        for step in (1, 2):
            checkpoints.publish(step, write(step), 2000)
        calls = [0]
        with monkeypatch.context() as patched:
            for module, name in CALLS:
                patched.setattr(module, name, _dying(getattr(module, name), calls, dies_at, patched))
            try:
                checkpoints.publish(3, write(3), 2000)
            except Dead:
                pass
            else:
                break
        monkeypatch.undo()
        newest = Checkpoints(folder, "this run", warnings.append).newest()
        survived.add(newest.name)
        checkpoints.publish(4, write(4), 2000)
        assert not [name for name in names(checkpoints) if name.startswith(".")]
    assert dies_at > 12
    assert survived == {"step-00000002", "step-00000003"}
    assert warnings == []


def _dying(real, calls, dies_at, patched):
    """A system call before which the process dies at the n-th of all; after that nothing works any more."""

    def call(*arguments, **more):
        calls[0] += 1
        if calls[0] > dies_at:
            raise Dead
        return real(*arguments, **more)

    return call


def test_a_second_run_is_refused_by_name_and_a_dead_one_s_lock_is_taken_over(tmp_path):
    lock = RunLock.take(tmp_path)
    with pytest.raises(CopgkitError, match=rf"process {os.getpid()} on .* since 20"):
        RunLock.take(tmp_path)
    lock.release()
    (tmp_path / ".lock").write_text('{"pid": 999999999, "host": "elsewhere", "since": "2020-01-01"}')
    RunLock.take(tmp_path).release()


def test_a_lock_can_be_looked_at_without_being_taken(tmp_path):
    RunLock.look(tmp_path / "not-there")
    RunLock.look(tmp_path)
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing"
    lock = RunLock.take(tmp_path)
    with pytest.raises(CopgkitError, match=rf"process {os.getpid()} on .* since 20"):
        RunLock.look(tmp_path)
    lock.release()
    RunLock.look(tmp_path)
    own = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": "then"})
    for left in ('{"pid": 999999999, "host": "elsewhere", "since": "2020-01-01"}', own):  # of a process that was killed
        (tmp_path / ".lock").write_text(left)
        RunLock.look(tmp_path)
        RunLock.take(tmp_path).release()


def test_without_flock_the_file_is_the_lock(tmp_path):
    def none(handle):
        raise OSError(errno.ENOLCK, "no locks available")

    lock = RunLock.take(tmp_path, none)
    with pytest.raises(CopgkitError, match=f"process {os.getpid()}"):
        RunLock.take(tmp_path, none)
    with pytest.raises(CopgkitError, match=f"process {os.getpid()}"):
        RunLock.look(tmp_path, none)
    lock.release()
    RunLock.look(tmp_path, none)
    (tmp_path / ".lock").write_text(json.dumps({"pid": 999999999, "host": socket.gethostname(), "since": "then"}))
    RunLock.take(tmp_path, none).release()
    (tmp_path / ".lock").write_text('{"pid": 999999999, "host": "another-host", "since": "then"}')
    with pytest.raises(CopgkitError, match="another-host since then"):
        RunLock.take(tmp_path, none)


def test_batches_of_completions_are_found_again_but_for_a_damaged_line(tmp_path, warnings):
    batches = {str(n): [((n, 1, 2), -1 / (n + 3)), ((n,), None)] for n in range(4)}
    written = WrittenBatches(tmp_path / "kept/rank-0.jsonl", warnings.append)
    assert written.find("0") is None
    for name, rows in batches.items():
        written.keep(name, rows)
    content = bytearray(written.file.read_bytes())
    content[len(content) // 8] ^= 4  # in the first line
    written.file.write_bytes(content[:-5])  # and the last one is cut off
    again = WrittenBatches(written.file, warnings.append)
    assert [again.find(name) for name in batches] == [None, batches["1"], batches["2"], None]
    again.keep("3", batches["3"])
    assert WrittenBatches(written.file, warnings.append).find("3") == batches["3"]
    other = '["4",[[4,1,2],[4,5]]]'  # a sound line in another form, as of another version
    check = hashlib.blake2b(other.encode(), digest_size=16).hexdigest()
    written.file.write_text(f"{check} {other}\n")
    assert WrittenBatches(written.file, warnings.append).find("4") is None
    again.forget()
    assert again.find("1") is None
    assert warnings == []
