"""The layer "limits": what one execution may use, enforced by the kernel with setrlimit.

Memory is address space, processor time whole seconds (the supervisor's own clock is finer; this is the back stop), disk
the size of one file. RLIMIT_NPROC counts all processes of a user, so it is set only where the sandbox has a user of its
own.
"""

from __future__ import annotations

import contextlib
import math
import resource

from .settings import Settings

_MB = 1 << 20
_OTHERS = 2  # the zygote and the one that waits for it


def apply_limits(settings: Settings) -> None:
    """Lower this process's limits for good. What is lower already stays."""
    cpu = math.ceil(settings.cpu_seconds) + 1
    _lower(resource.RLIMIT_CPU, cpu)
    _lower(resource.RLIMIT_AS, settings.memory_mb * _MB)
    _lower(resource.RLIMIT_FSIZE, settings.disk_mb * _MB)
    _lower(resource.RLIMIT_NOFILE, settings.files)
    _lower(resource.RLIMIT_CORE, 0)
    for name in ("RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO"):
        if hasattr(resource, name):
            _lower(getattr(resource, name), 0)
    if settings.uid is not None or "user" in settings.layers:
        _lower(resource.RLIMIT_NPROC, settings.threads + _OTHERS)


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(ValueError):  # macOS refuses RLIMIT_AS; the probe says what a layer is worth
        resource.setrlimit(limit, (wanted, wanted))
