"""`--processes`: several processes are started, heard and ended as one command."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from copgkit import CopgkitError
from copgkit.cli.processes import run_together

START = """
import os, pathlib, signal, sys, time
from copgkit.launched import end_with_parent, is_main, tell
rank, folder = int(os.environ["RANK"]), pathlib.Path(sys.argv[1])
"""
WAIT = "time.sleep(60)"


@pytest.fixture
def together(tmp_path, capfd):
    """Runs a script in processes; gives status, standard output and standard error."""

    def run(script, count=2):
        status = run_together([sys.executable, "-c", START + script, str(tmp_path)], count)
        printed = capfd.readouterr()
        return status, printed.out, printed.err

    return run


def test_one_of_them_speaks_and_each_knows_its_place(together, tmp_path):
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "COPGKIT_MEETING_FILE")
    status, out, err = together(
        f"import json; (folder / str(rank)).write_text(json.dumps([os.environ[n] for n in {names}]))\n"
        "print('said by', rank, is_main()); print('and', rank, file=sys.stderr)"
    )
    assert (status, out, err) == (0, "said by 0 True\n", "and 0\n")
    one, other = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert (one[:4], other[:4]) == (["0", "0", "2", "2"], ["1", "1", "2", "2"])
    assert 2 * int(one[4]) <= max(2, os.cpu_count())
    assert one[5] == other[5]


def test_the_error_of_the_first_that_fails_is_shown_once_and_the_rest_is_ended(together):
    began = time.monotonic()
    status, out, err = together(
        f"(folder / str(rank)).write_text(str(os.getpid()))\n"
        f"if rank == 1: print('noise', file=sys.stderr); tell('reward source: a fault.'); sys.exit(2)\n{WAIT}"
    )
    assert (status, out, err) == (2, "", "reward source: a fault.\n")
    assert time.monotonic() - began < 30


def test_an_error_of_all_is_shown_once(together):
    assert together("tell('train: a fault.'); sys.exit(2)", 3) == (2, "", "train: a fault.\n")


def test_a_fault_to_mend_is_shown_rather_than_the_breakdown_that_it_caused_elsewhere(together):
    script = "tell('the cause') if rank else tell('connection closed by peer')\nsys.exit(2 if rank else 1)"
    assert together(script) == (2, "", "the cause\n")


def test_a_process_that_is_killed_is_named(together):
    status, _, err = together(f"if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\n{WAIT}")
    assert status == 1
    assert err.startswith("process 1 was ended by SIGKILL, and the others with it.")
    assert len(err.splitlines()) == 1


def test_what_a_crash_printed_is_shown_where_nothing_else_explains_it(together):
    status, _, err = together("if rank == 1: sys.exit('Fatal: no such library')\n" + WAIT)
    assert (status, err) == (1, "process 1 ended with status 1.\nFatal: no such library\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_every_process_and_none_is_left(tmp_path, number, status):
    heed = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # what a shell starts with & ignores SIGINT
    script = START + f"{heed}\n(folder / str(rank)).write_text(str(os.getpid()))\n{WAIT}"
    launcher = _launch(script, tmp_path)
    pids = _pids(tmp_path)
    launcher.send_signal(number)
    assert launcher.wait(30) == status
    assert not any(_alive(pid) for pid in pids)


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    script = START + f"end_with_parent()\n(folder / str(rank)).write_text(str(os.getpid()))\n{WAIT}"
    launcher = _launch(script, tmp_path)
    pids = _pids(tmp_path)
    launcher.kill()
    launcher.wait()
    _until(lambda: not any(_alive(pid) for pid in pids))


def test_a_command_that_was_launched_in_several_processes_starts_no_more(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(CopgkitError, match=r"--processes: .* launched in several processes already"):
        run_together(["true"], 2)


def _launch(script, folder):
    code = "import sys\nfrom copgkit.cli.processes import run_together\nsys.exit(run_together(sys.argv[1:], 2))"
    return subprocess.Popen([sys.executable, "-c", code, sys.executable, "-c", script, str(folder)])


def _pids(folder):
    def known():
        return [(folder / rank).read_text() if (folder / rank).exists() else "" for rank in "01"]

    _until(lambda: all(known()))
    return [int(pid) for pid in known()]


def _until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid):
    """A process that has ended and was not waited for yet counts as gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
