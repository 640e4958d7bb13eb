"""The order in which the layers go up: once around a zygote, then around each child, from the outermost inwards."""

from __future__ import annotations

import os

from . import landlock, namespaces, seccomp
from .kernel import limit_arenas
from .private_root import DEVICES, SCRATCH
from .privileges import die_with_parent, drop_privileges, set_traceable
from .rlimits import apply_limits
from .settings import Settings


def enclose_zygote(settings: Settings, control_fd: int) -> None:
    """What is put up once, before the usual modules are imported. Another process may be the one that returns."""
    limit_arenas()
    namespaces.enclose(settings, control_fd)
    if "privileges" in settings.layers:
        set_traceable(False)
    if "mount" in settings.layers:
        _live_in(SCRATCH)
    if "filter" in settings.layers:
        seccomp.prepare()


def enclose_child(settings: Settings, folder: str) -> None:
    """What is put up around one execution. Afterwards nothing can be taken down again."""
    os.setsid()
    namespaces.enclose_child(settings)
    _live_in(folder)
    apply_limits(settings)
    if "privileges" in settings.layers:
        die_with_parent()
        set_traceable(False)
        drop_privileges()
    if "landlock" in settings.layers:
        landlock.confine(settings.readable, folder, DEVICES)
    if "filter" in settings.layers:
        seccomp.filter_calls(os.getpid())


def _live_in(folder: str) -> None:
    os.chdir(folder)
    if os.environ.get("TMPDIR") != folder:
        os.environ.update(HOME=folder, TMPDIR=folder)
