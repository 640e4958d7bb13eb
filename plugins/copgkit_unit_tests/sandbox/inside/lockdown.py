"""The order in which the layers go up: once around a zygote, then around each child, from the outermost inwards."""

from __future__ import annotations

import os

from . import landlock, namespaces, seccomp
from .kernel import limit_arenas
from .private_root import DEVICES
from .privileges import die_with_parent, drop_privileges, set_traceable
from .rlimits import apply_limits
from .settings import Settings


def enclose_zygote(settings: Settings, control_fd: int) -> None:
    """What is put up once, before the usual modules are imported. Another process may be the one that returns."""
    limit_arenas()
    namespaces.enclose(settings, control_fd)
    if "privileges" in settings.layers:
        set_traceable(False)


def enclose_child(settings: Settings, folder: str) -> None:
    """What is put up around one execution. Afterwards nothing can be taken down again."""
    os.setsid()
    namespaces.enclose_child(settings)
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    apply_limits(settings)
    if "privileges" in settings.layers:
        die_with_parent()
        set_traceable(False)
        drop_privileges()
    if "landlock" in settings.layers:
        landlock.confine(settings.readable, folder, DEVICES)
    if "filter" in settings.layers:
        seccomp.filter_calls(os.getpid())
