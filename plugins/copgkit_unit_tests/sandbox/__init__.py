"""Runs hostile Python code in isolation, in milliseconds, with the standard library alone.

    from copgkit_unit_tests.sandbox import Limits, Pool, probe

    found = probe()                                   # which profile this machine can give, and why not a stronger one
    with Pool(found.profile, Limits(cpu_seconds=2.0), workers=2) as pool, pool.open("candidate") as session:
        session.send({"do": "load", "source": "def double(x): return 2 * x"})
        session.receive()                             # {"loaded": True}
        session.send({"do": "call", "name": "double", "args": [21], "kwargs": {}})
        session.receive()["value"]                    # 42

Read it from the inside out. `inside/` runs in the sandbox's own processes: `plain`, `encoding`, `decoding` are the
language spoken over its pipes, `zygote` the process every execution is forked from, `lockdown` the order of the
layers, one file per layer, `candidate` and `examiner` what a child does when asked. Around it, in the trainer's
process: `zygotes` starts and ends them, `session` is one execution, `pool` the front door, `probe` the self-test.
"""

from .inside.plain import Bounds, Opaque, Plain, PlainException, PlainIterator, WireError
from .limits import GoneKind, Limits, SandboxGone, SandboxUnavailable
from .pool import Pool, Role
from .probe import LayerState, Probe, probe
from .profiles import LAYERS, PROFILES, Profile, at_least
from .session import Session

__all__ = [
    "LAYERS",
    "PROFILES",
    "Bounds",
    "GoneKind",
    "LayerState",
    "Limits",
    "Opaque",
    "Plain",
    "PlainException",
    "PlainIterator",
    "Pool",
    "Probe",
    "Profile",
    "Role",
    "SandboxGone",
    "SandboxUnavailable",
    "Session",
    "WireError",
    "at_least",
    "probe",
]
