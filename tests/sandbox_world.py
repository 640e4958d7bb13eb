"""What the tests of the sandbox share: profiles to test, and short ways to run hostile code."""

from copgkit_unit_tests.sandbox import PROFILES, Limits, SandboxGone, at_least, probe

LIMITS = Limits(cpu_seconds=0.5, wall_seconds=1.5, memory_mb=256, threads=16, disk_mb=4, output_kb=64)
AVAILABLE = [profile for profile in PROFILES if at_least(probe().profile, profile)]


def load_and_call(pool, source, *args, name="f"):
    """What a call in a fresh execution gives: the reply, or the kind of its end."""
    try:
        with pool.open("candidate") as session:
            session.send({"do": "load", "source": source, "name": "candidate"})
            loaded = session.receive()
            if "raised" in loaded:
                return loaded
            session.send({"do": "call", "name": name, "args": list(args), "kwargs": {}})
            return session.receive()
    except SandboxGone as gone:
        return gone.kind


def run_program(pool, source, stdin=""):
    """What a script writes: {"stdout", "status"}, or the kind of its end."""
    try:
        with pool.open("candidate") as session:
            session.send({"do": "program", "source": source, "stdin": stdin})
            return session.receive()
    except SandboxGone as gone:
        return gone.kind


def examine(pool, tests, code, entry_point="f", names=()):
    """The verdict of test text on code, each in a sandbox of its own, with plain data relayed between them."""
    with pool.open("tests") as examiner, pool.open("candidate") as candidate:
        candidate.send({"do": "load", "source": code})
        candidate.receive()
        examiner.send({"do": "check", "source": tests, "entry_point": entry_point, "names": list(names)})
        while "ask" in (said := examiner.receive()):
            candidate.send({"do": "call", **{key: said[key] for key in ("name", "args", "kwargs")}})
            examiner.send(candidate.receive())
        return said
