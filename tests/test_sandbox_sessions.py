"""Executions in the sandbox, in every profile this machine can give: right code is served, hostile code is ended."""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace

import pytest
from sandbox_world import AVAILABLE, LIMITS, examine, load_and_call, run_program

from copgkit_unit_tests.sandbox import Opaque, Pool, SandboxGone


@pytest.fixture(scope="module", params=AVAILABLE)
def pool(request):
    with Pool(request.param, LIMITS, workers=1) as pool:
        yield pool


def test_a_function_is_called_and_its_value_comes_back(pool):
    assert load_and_call(pool, "def f(a, b): return [a + b, {'a': a}]", 1, 2)["value"] == [3, {"a": 1}]


def test_arguments_come_back_as_the_call_left_them(pool):
    reply = load_and_call(pool, "def f(items): items.sort(); items.append(0)", [3, 1])
    assert (reply["value"], reply["args"]) == (None, [[1, 3, 0]])


def test_one_execution_answers_many_calls_and_keeps_its_state(pool):
    with pool.open("candidate") as session:
        session.send({"do": "load", "source": "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"})
        assert session.receive() == {"loaded": True}
        for expected in (1, 2, 3):
            session.send({"do": "call", "name": "f", "args": ["x"]})
            assert session.receive()["value"] == expected


def test_an_execution_knows_nothing_of_the_one_before(pool):
    load_and_call(pool, "import math, builtins\nmath.pi = 3\nbuiltins.len = None\ndef f(): pass")
    assert load_and_call(pool, "import math\ndef f(): return math.pi, len([1])")["value"][1] == 1


def test_every_execution_draws_random_numbers_of_its_own(pool):
    source = "import os, random, uuid\ndef f(): return random.random(), uuid.uuid4().hex, os.urandom(8)"
    first, second = (load_and_call(pool, source)["value"] for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_a_child_finds_nothing_loaded_that_acts_in_every_fork(pool):
    assert (
        load_and_call(pool, "import sys\ndef f(): return {'random', 'threading'} & set(sys.modules)")["value"] == set()
    )


def test_what_is_raised_comes_back_by_name(pool):
    reply = load_and_call(pool, "class Mine(ValueError): pass\ndef f(): raise Mine('no')")
    assert (reply["raised"], reply["type"], reply["text"]) == ("ValueError", "Mine", "no")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def f(:", "SyntaxError"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("g = 1", "NameError"),
        ("def f(): return f()", "RecursionError"),
        ("def f():\n    return [0] * (1 << 40)", "MemoryError"),
        ("f = \0", "SyntaxError"),
    ],
)
def test_faults_of_the_code_are_told_by_name(pool, source, name):
    assert load_and_call(pool, source)["raised"] in (name, "ValueError")


def test_an_object_of_its_own_is_opaque_outside_and_itself_inside(pool):
    source = "class P:\n    def __init__(self, x): self.x = x\ndef f(p): return p.x"
    with pool.open("candidate") as session:
        session.send({"do": "load", "source": source})
        session.receive()
        session.send({"do": "call", "name": "P", "args": [7]})
        made = session.receive()["value"]
        assert isinstance(made, Opaque)
        session.send({"do": "call", "name": "f", "args": [made]})
        assert session.receive()["value"] == 7


def test_a_value_that_exceeds_the_bounds_equals_nothing(pool):
    for source in ("def f(): return 'x' * 100_000", "def f():\n    a = []\n    a.append(a)\n    return a"):
        assert isinstance(load_and_call(pool, source)["value"], Opaque)


def test_a_program_reads_stdin_and_writes_stdout(pool):
    source = "import sys\nif __name__ == '__main__':\n    print(int(input()) * 2)\n    print(sys.stdin.read()[::-1])"
    assert run_program(pool, source, "21\nabc ü") == {"stdout": "42\nü cba\n", "status": 0}


def test_a_program_is_heard_however_it_ends(pool):
    assert run_program(pool, "import os\nprint(1, flush=True)\nos._exit(0)") == {"stdout": "1\n", "status": 0}
    assert run_program(pool, "print(1)\nraise SystemExit('no')") == {"stdout": "1\n", "status": 1}
    assert run_program(pool, "print(1)\n1/0") == {"stdout": "1\n", "status": 1}
    thread = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.1), print(2))).start()"
    assert run_program(pool, thread) == {"stdout": "2\n", "status": 0}


def test_tests_and_candidate_talk_through_their_supervisor(pool):
    tests = "x = [3, [1]]\ninner = x[1]\nassert f(x, k=1) == 4\nassert x == [3, [1, 2]]\nassert inner is x[1]"
    assert examine(pool, tests, "def f(x, k): x[1].append(2); return x[0] + k") == {"passed": True}
    verdict = examine(pool, tests, "def f(x, k): return x[0] + k")
    assert (verdict["passed"], verdict["raised"]) == (False, "AssertionError")


def test_tests_can_expect_an_exception(pool):
    tests = "try:\n    f(0)\nexcept ZeroDivisionError:\n    pass\nelse:\n    raise AssertionError"
    assert examine(pool, tests, "def f(x): return 1 / x")["passed"]
    assert not examine(pool, tests, "def f(x): return 1")["passed"]


def test_iterators_go_both_ways(pool):
    tests = "assert list(f(iter([1, 2]))) == [1, 4]\nassert f([]) != []\nassert next(f([3])) == 9"
    assert examine(pool, tests, "def f(xs):\n    for x in xs:\n        yield x * x")["passed"]
    assert load_and_call(pool, "def f():\n    yield 1\n    raise KeyError('late')")["raised"] == "KeyError"
    endless = load_and_call(pool, "import itertools\ndef f(): return itertools.count()")
    assert isinstance(endless["value"], Opaque)


def test_tests_can_use_a_class_of_the_candidate(pool):
    code = "class P:\n    def __init__(self, x): self.x = x\ndef f(ps): return sum(p.x for p in ps)"
    assert examine(pool, "assert f([P(1), P(2)]) == 3", code, names=["P"])["passed"]


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("import os; os._exit(0)", {"exited"}),
        ("while True: pass", {"timeout"}),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", {"timeout"}),
        ("import time; time.sleep(60)", {"timeout"}),
        ("import os; os.close(4)\nwhile True: pass", {"protocol", "timeout"}),
        ("import os; os.close(3); import time; time.sleep(60)", {"timeout"}),
        ("import os; os.write(4, b'\\xff' * 64)", {"output"}),
        ("import os; os.write(4, b'\\0\\0\\0\\2??')", {"protocol"}),
        ("import os\nwhile True: os.write(4, b'\\0\\0\\0\\4l\\0\\0\\1')", {"protocol", "timeout"}),
        ("import os; os.write(4, b'\\0\\0\\0\\1N')", {"protocol"}),
        ("import ctypes; ctypes.string_at(0)", {"killed"}),
    ],
)
def test_code_that_does_not_answer_is_ended(pool, source, kinds):
    assert load_and_call(pool, source + "\ndef f(): pass") in kinds


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("while True: print('x' * 1000)", "output"),
        ("import os\nos.close(1)\nwhile True: pass", "timeout"),
    ],
)
def test_programs_that_do_not_end_are_ended(pool, source, kind):
    assert run_program(pool, source) == kind


def test_a_stopped_execution_stays_stopped(pool):
    with pool.open("candidate") as session:
        session.send({"do": "load", "source": "import os; os._exit(3)"})
        for _ in range(2):
            with pytest.raises(SandboxGone, match="exited: with status 3"):
                session.receive()
    assert session.ending.status == 3


def test_a_child_that_is_never_ready_is_nobodys_fault(pool, monkeypatch):
    monkeypatch.setattr("copgkit_unit_tests.sandbox.session._READY_SECONDS", 0.3)
    with pool.open("candidate") as session:
        select.select([session._replies], [], [], 10)
        os.read(session._replies, 1000)  # what it says is lost
        with pytest.raises(SandboxGone, match=r"could not be locked down \(timeout: ") as caught:
            session.receive()
    assert caught.value.kind == "infrastructure"


def test_a_dead_zygote_is_replaced(pool):
    zygote = pool._slots["candidate"][0].zygote()
    os.kill(zygote._process.pid, 9)
    zygote._process.wait()
    assert load_and_call(pool, "def f(): return 1")["value"] == 1


def test_a_zygote_lost_under_an_execution_is_nobodys_fault(pool):
    with pool.open("candidate") as session:
        session.send({"do": "load", "source": "while True: pass"})
        os.kill(session._zygote._process.pid, 9)
        session._watched.kill()
        with pytest.raises(SandboxGone) as caught:
            session.receive()
    assert caught.value.kind == "infrastructure"


def test_nothing_runs_on_when_the_trainer_is_killed(pool):
    script = (
        "import sys\nfrom copgkit_unit_tests.sandbox import Limits, Pool\nprofile = sys.argv[1]\n"
        "pool = Pool(profile, Limits(cpu_seconds=60), 1)\nsession = pool.open('candidate')\n"
        "session.send({'do': 'load', 'source': 'while True: pass'})\n"
        "print(session._watched._pid, flush=True)\nsession.receive()"
    )
    if pool.profile == "weak":
        pytest.skip("not claimed of 'weak'")
    folder = tempfile.mkdtemp(prefix="trainer-")
    os.chmod(folder, 0o755)
    command = [sys.executable, "-c", script, pool.profile]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": folder})
    child = int(trainer.stdout.readline())
    os.kill(child, 0)
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    deadline = time.monotonic() + 10
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(child)
    shutil.rmtree(folder)


def _is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_many_threads_share_a_pool(pool):
    values = []

    def work():
        for number in range(5):
            values.append(load_and_call(pool, "def f(x): return x", number)["value"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(values) == sorted(list(range(5)) * 4)


def test_what_starved_runs_once_more_alone(pool):
    kinds = []

    def work():
        kinds.append("starved")
        raise SandboxGone("starved", "for the test")

    with pytest.raises(SandboxGone) as caught:
        pool.execute(work)
    assert (caught.value.kind, len(kinds)) == ("infrastructure", 2)
    assert pool.execute(lambda: load_and_call(pool, "def f(): return 1")["value"]) == 1


@pytest.mark.parametrize("run", [load_and_call, run_program])
def test_who_writes_too_much_and_answers_at_once_is_not_heard(pool, run):
    write = f"for name in range(2 * {LIMITS.disk_mb}): open(str(name), 'wb').write(bytes(1 << 20))"
    said = run(pool, f"{write}\ndef f(): return 1\nprint(f())")
    if pool.profile == "full":  # a folder that holds no more
        assert said.get("raised") == "OSError" or said["status"] == 1
    else:
        assert said == "output"


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    deep = "import os\nfor _ in range(1200):\n    os.mkdir('d'); os.chdir('d')\nopen('x', 'w')\ndef f(): return 1"
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    limits = replace(LIMITS, cpu_seconds=5.0, wall_seconds=30.0, disk_mb=64)
    with Pool(AVAILABLE[0], limits, workers=1) as pool:
        assert load_and_call(pool, deep)["value"] == 1
    assert list(tmp_path.iterdir()) == []
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == descriptors
