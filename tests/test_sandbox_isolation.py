"""What hostile code can reach from inside the sandbox: nothing, in every profile, and with any one layer missing.

The claims are numbered as in SECURITY.md: files (S3), secrets (S4), network (S5), what outlives (S6), signals (S7),
resources (S9), system calls (S12), missing layers (S13), no sandbox no run (S14).
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import sandbox_attacks
from sandbox_world import AVAILABLE, LIMITS, load_and_call

from copgkit_unit_tests import sandbox
from copgkit_unit_tests.sandbox import LayerState, Pool, Probe, SandboxGone, SandboxUnavailable, probe
from copgkit_unit_tests.sandbox.inside import seccomp, syscall_table
from copgkit_unit_tests.sandbox.inside.kernel import MACHINES
from copgkit_unit_tests.sandbox.inside.zygote import EXIT_LOCKDOWN

ISOLATING = [profile for profile in AVAILABLE if profile != "weak"]
WAYS = [(profile, ()) for profile in ISOLATING]
WAYS += [("full", (layer,)) for layer in ("landlock", "net", "pid", "mount") if "full" in ISOLATING]
PACKAGE = Path(sandbox.__file__).parents[1]


def _check(found):
    """What every profile promises of all attacks together."""
    assert found["through"] == []
    assert found["harm"] == []
    assert found["left"] == []
    assert found["grown_mb"] < 128
    limits = sandbox_attacks.LIMITS
    bounds = {
        "megabytes": limits.memory_mb,
        "megabytes on disk": limits.disk_mb,
        "descriptors": limits.files,
        "threads": limits.threads + 1,
    }
    assert {name: had for name, had in found["had"].items() if had is not None and had > bounds[name]} == {}


@pytest.mark.parametrize(
    ("profile", "without"), WAYS, ids=lambda value: value if isinstance(value, str) else f"without {value}"
)
def test_no_attack_gets_through(profile, without):
    _check(sandbox_attacks.run_all(profile, list(without)))


@pytest.fixture(scope="module")
def nobody():
    """Runs a script of this folder as an ordinary user; for tests that are run by root."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("needs root, to become somebody else")
    become = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
    interpreter = _interpreter_for(become)
    folder = Path(tempfile.mkdtemp(prefix="nobody-"))
    folder.chmod(0o755)
    copy = folder / "copgkit_unit_tests"  # the sandbox alone: it needs nothing that is installed
    shutil.copytree(PACKAGE / "sandbox", copy / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__init__.py").touch()
    shutil.copy(sandbox_attacks.__file__, folder)

    def run(*command):
        environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        call = [*become, interpreter, *command]
        return subprocess.run(call, capture_output=True, text=True, check=True, env=environment, cwd=folder).stdout

    yield run
    shutil.rmtree(folder)


def _interpreter_for(become):
    """A Python of our version or newer that an ordinary user may start."""
    usable = "import os, sys; sys.exit(sys.version_info < (3, 11) or not os.access(sys._base_executable, os.X_OK))"
    for interpreter in filter(shutil.which, (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")):
        if subprocess.run([*become, interpreter, "-c", usable], capture_output=True).returncode == 0:
            return interpreter
    pytest.skip("no Python here that an ordinary user may start")


@pytest.mark.parametrize("profile", ["container", "full"])
def test_no_attack_gets_through_as_an_ordinary_user(nobody, profile):
    found = nobody("-c", "from copgkit_unit_tests.sandbox import probe, PROFILES; print(probe().profile)").strip()
    if not sandbox.at_least(found, profile):
        pytest.skip(f"an ordinary user gets '{found}' here")
    _check(json.loads(nobody("sandbox_attacks.py", profile)))


def test_the_attacks_are_real_where_there_is_no_sandbox(tmp_path):
    """Those that harm nothing but the world made for them, in a plain process of their own."""
    world = sandbox_attacks.World()
    reading = ["read a file", "read it over a symbolic link", "list its folder", "list /etc", "list /proc"]
    secrets = ["read the environment", "read the supervisor's environment"]
    writing = ["write it", "change its mode"]
    network = ["connect by TCP", "send by UDP", "connect to a socket with a path", "connect to an abstract socket"]
    processes = ["fork", "spawn", "become a program in memory", "see the victim", "slow the victim", "kill the victim"]
    names = [*reading, *secrets, *writing, *network, *processes]
    script = "import json, sys\nworld, bodies = json.load(sys.stdin)\nfor name, source in bodies.items():\n"
    script += (
        "    names = {}\n    exec(source, names)\n    print(name, bool(names['f'](world)), sep='\\t', flush=True)\n"
    )
    bodies = {name: sandbox_attacks.source_of(sandbox_attacks.ATTACKS[name]) for name in names}
    given = json.dumps([world.coordinates(), bodies])
    told = subprocess.run([sys.executable, "-c", script], input=given, text=True, cwd=tmp_path, stdout=subprocess.PIPE)
    world.victim.wait(10)
    harm = world.harm()
    world.close()
    assert told.stdout.splitlines() == [f"{name}\tTrue" for name in names]
    assert [what.split(":")[0] for what in harm] == ["the files", "the victim is dead"] + [
        f"somebody reached {name}" for name in ("tcp", "udp", "unix", "abstract")
    ]


@pytest.mark.parametrize("profile", ISOLATING)
def test_no_system_call_beyond_the_list_is_made(profile):
    source = textwrap.dedent("""
        import ctypes, errno
        libc = ctypes.CDLL(None, use_errno=True)
        def f(allowed):
            made = []
            for number in set(range(470)) - set(allowed):
                ctypes.set_errno(0)
                if libc.syscall(number, *[ctypes.c_long(-1)] * 6) != -1 or ctypes.get_errno() != errno.EPERM:
                    made.append((number, ctypes.get_errno()))
            return made
    """)
    listed = syscall_table.numbers(syscall_table.TABLE, platform.machine())
    allowed = [*listed.values(), *seccomp.checked_numbers(platform.machine())]
    allowed += [335, 336]  # the kernel lets its own return probes past every filter; called by others they do nothing
    with Pool(profile, LIMITS, workers=1) as pool:
        made = load_and_call(pool, source, allowed)["value"]
    assert made == [(435, 38)]  # clone3 is "not implemented", so that the C library uses clone


def test_both_machines_have_a_filter_of_about_the_same_calls():
    x86, arm = (syscall_table.numbers(syscall_table.TABLE, machine) for machine in MACHINES)
    assert set(arm) < set(x86)
    assert all(name.replace("p", "") for name in set(x86) - set(arm))
    for numbers in (x86, arm):
        assert len(set(numbers.values())) == len(numbers)
        assert 90 < len(numbers) < 150
    for program in (seccomp.zygote_program, seccomp.child_program):
        for machine in MACHINES:
            assert len(program(machine)) % 8 == 0
            assert len(program(machine)) // 8 < 4096  # the kernel takes no longer one


@pytest.mark.parametrize("machine", MACHINES)
def test_what_a_zygote_may_call_besides_is_not_on_the_list_of_its_children(machine):
    listed, besides = (
        set(syscall_table.numbers(table, machine).values())
        for table in (syscall_table.TABLE, syscall_table.ZYGOTE_TABLE)
    )
    assert listed & besides == set()
    assert listed & set(seccomp.checked_numbers(machine)) == set()


@pytest.mark.parametrize("profile", ISOLATING)
def test_what_a_right_program_needs_is_there(profile):
    source = textwrap.dedent("""
        import collections, dataclasses, datetime, decimal, hashlib, json, os, random, re, sqlite3, tempfile, threading
        import encodings.idna, uuid, zoneinfo
        def f():
            with tempfile.NamedTemporaryFile("w+") as out, tempfile.TemporaryDirectory() as folder:
                out.write("ü"); out.flush()
                os.mkdir(os.path.join(folder, "x"))
                texts = [open(out.name).read()]
            threads = [threading.Thread(target=texts.append, args=(n,)) for n in range(4)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            random.random(), uuid.uuid4(), os.urandom(3), datetime.datetime.now(), os.cpu_count()
            open("mine", "w").write("x"); os.rename("mine", "yours"); os.unlink("yours")
            return texts[0], sorted(texts[1:]), os.getcwd() == os.environ["TMPDIR"]
    """)
    with Pool(profile, LIMITS, workers=1) as pool:
        assert load_and_call(pool, source) == {"value": ("ü", [0, 1, 2, 3], True), "args": [], "kwargs": {}}


@pytest.mark.parametrize("profile", ISOLATING)
def test_a_library_folder_can_be_offered(profile, tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="library-"))
    folder.chmod(0o755)
    (folder / "mylib.py").write_text("x = 7")
    source = "def f():\n    import mylib\n    return mylib.x"
    with Pool(profile, LIMITS, workers=1, extra_paths=[folder]) as pool:
        assert load_and_call(pool, source)["value"] == 7
        assert load_and_call(pool, f"def f(): return open({str(folder / 'new')!r}, 'w')")["raised"] != ""
    assert [path.name for path in folder.iterdir()] == ["mylib.py"]
    shutil.rmtree(folder)


@pytest.mark.parametrize("profile", ISOLATING)
def test_a_temporary_folder_that_others_cannot_reach_is_no_hindrance(profile, tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Pool(profile, LIMITS, workers=1) as pool:
        assert load_and_call(pool, "def f(): return open('x', 'w').write('abc')")["value"] == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("profile", ISOLATING)
def test_nothing_of_an_execution_is_there_for_the_next(profile):
    with Pool(profile, LIMITS, workers=1) as pool:
        write = "import os\ndef f():\n    open('x', 'w').write('1')\n    return os.listdir('.')"
        assert [load_and_call(pool, write)["value"] for _ in range(2)] == [["x"], ["x"]]


@pytest.mark.skipif("full" not in AVAILABLE, reason="needs a layer that can be made to fail")
def test_a_request_is_not_served_by_a_child_that_cannot_be_locked_down():
    """The first request lies in the pipe before the layers are up; here no tmpfs can be mounted."""
    with Pool("full", replace(LIMITS, disk_mb=-1), workers=1) as pool, pool.open("candidate") as session:
        session.send({"do": "load", "source": "x = 1"})
        with pytest.raises(SandboxGone, match=r"infrastructure: the child could not be locked down \(exited"):
            session.receive()
        assert session.ending.status == EXIT_LOCKDOWN


@pytest.mark.parametrize("profile", ISOLATING)
def test_an_ended_execution_is_dead_when_its_session_is_closed(profile):
    """Also where it is reaped only with the next request; what it had is gone with it."""
    source = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()"
    with Pool(profile, LIMITS, workers=1) as pool:
        for _ in range(3):
            with pool.open("candidate") as session:
                session.send({"do": "load", "source": source})
                session.receive()
                status = Path(f"/proc/{session._watched._pid}/status")
                assert "State:\tZ" not in status.read_text()
            assert not status.exists() or "State:\tZ" in status.read_text()
        assert len(sandbox_attacks.children_left(pool, dead=True)) <= 1


def test_a_zygote_never_holds_what_is_tested():
    """A later child, forked from the same zygote, finds nothing of an earlier one's text in its memory."""
    source = textwrap.dedent("""
        import gc
        def f(half):
            needle = half + "-of-the-test"
            kept = [thing for thing in gc.get_objects() if isinstance(thing, dict)]
            return [key for thing in kept for key, value in thing.items() if isinstance(value, str) and needle in value
                    and key != "needle"]
    """)
    with Pool(AVAILABLE[-1], LIMITS, workers=1) as pool:
        for role, do in (("tests", "check"), ("candidate", "load")):
            with pool.open(role) as session:
                session.send({"do": do, "source": "x = 'secret-of-the-test'", "entry_point": "f"})
                session.receive()
        assert load_and_call(pool, source, "secret")["value"] == []
        assert load_and_call(pool, source + "\nx = 'secret-of-the-test'", "secret")["value"] == ["x"]


MISSING = Probe(
    (LayerState("limits", True), LayerState("filter", True), LayerState("user", False, "EPERM", "Allow namespaces."))
)


def test_a_missing_layer_stops_the_start_with_its_name_and_the_remedy(monkeypatch):
    monkeypatch.setattr("copgkit_unit_tests.sandbox.pool.probe", lambda: MISSING)
    with pytest.raises(
        SandboxUnavailable, match=r"'full': the layer 'user' does not work here \(EPERM\). Allow namespa"
    ):
        Pool("full", LIMITS, workers=1)
    assert MISSING.profile == "container"


def test_the_probe_finds_what_the_machine_refuses():
    """A user namespace in which no further one may be made, as in a plain container."""
    unshare = shutil.which("unshare")
    if unshare is None or probe().missing("weak") or "full" not in AVAILABLE:
        pytest.skip("needs a machine that gives 'full', and unshare(1)")
    show = (
        "from copgkit_unit_tests.sandbox import probe as p; print(p().profile, *(l.name for l in p().missing('full')))"
    )
    script = f'echo 0 > /proc/sys/user/max_user_namespaces && exec "{sys.executable}" -c "{show}"'
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    told = subprocess.run([unshare, "-Ur", "sh", "-c", script], capture_output=True, text=True, env=environment)
    assert told.stdout.split() == ["container", "user", "mount", "pid", "net", "ipc"], told.stderr
