"""The layer "limits": what one execution may use, enforced by the kernel with setrlimit.

Memory is address space, processor time whole seconds (the supervisor's own clock is finer; this is the back stop), disk
the size of one file. RLIMIT_NPROC counts all processes of a user, so it is set only where the sandbox has a user of its
own.
"""

from __future__ import annotations

import math
import resource

from .settings import Settings

_MB = 1 << 20
_OTHERS = 2  # the zygote and the one that waits for it


Limit = tuple[int, tuple[int, int]]
"""What is limited, and to what: as setrlimit takes it."""


def limits_of(settings: Settings) -> list[Limit]:
    """The limits of one execution, none above what is allowed here already."""
    cpu = math.ceil(settings.cpu_seconds) + 1
    wanted = {
        "RLIMIT_CPU": cpu,
        "RLIMIT_AS": settings.memory_mb * _MB,
        "RLIMIT_FSIZE": settings.disk_mb * _MB,
        "RLIMIT_NOFILE": settings.files,
        **dict.fromkeys(("RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO"), 0),
    }
    if settings.uid is not None or "user" in settings.layers:
        wanted["RLIMIT_NPROC"] = settings.threads + _OTHERS
    known = {getattr(resource, name): value for name, value in wanted.items() if hasattr(resource, name)}
    return [(limit, _at_most(limit, value)) for limit, value in known.items()]


def apply_limits(limits: list[Limit]) -> None:
    """Lower this process's limits for good."""
    for limit, value in limits:
        try:
            resource.setrlimit(limit, value)
        except ValueError:  # macOS refuses RLIMIT_AS; the probe says what a layer is worth
            continue


def _at_most(limit: int, value: int) -> tuple[int, int]:
    hard = resource.getrlimit(limit)[1]
    lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
    return lowered, lowered
