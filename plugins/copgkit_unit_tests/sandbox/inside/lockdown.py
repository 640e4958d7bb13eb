"""The order in which the layers go up: once around a zygote, then around each child, from the outermost inwards.

What a child has to do is laid out in the zygote as far as it can be. A child takes its first steps in memory that it
shares with the zygote, and each page of it that it touches is copied: a step that only makes a call touches few.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from . import landlock, namespaces, seccomp
from .kernel import limit_arenas, machine
from .private_root import DEVICES, SCRATCH, SCRATCH_HOLDER
from .privileges import dying_with_parent, gaining_none, having_none, traceable
from .rlimits import apply_limits, limits_of
from .settings import Settings

Step = Callable[[], object]


def enclose_zygote(settings: Settings, control_fd: int) -> None:
    """What is put up once, before the usual modules are imported. Another process may be the one that returns."""
    limit_arenas()
    namespaces.enclose(settings, control_fd)
    if "privileges" in settings.layers:
        traceable(False)()
    if "mount" in settings.layers:
        os.chdir(SCRATCH)
        _call_home(SCRATCH)
    if "filter" in settings.layers:
        gaining_none()()
        seccomp.Filter(seccomp.zygote_program(machine())).apply()


class Enclosure:
    """What is put up around one execution that works in `folder`. Made in the zygote, for any number of children."""

    def __init__(self, settings: Settings, folder: str, first_to_close: int) -> None:
        """first_to_close: this descriptor and all above it are closed."""
        self._steps = list(_steps(settings, folder, first_to_close))

    def put_up(self) -> None:
        """Enclose this process. Afterwards nothing can be taken down again."""
        for step in self._steps:
            step()


def _steps(settings: Settings, folder: str, first_to_close: int) -> Iterator[Step]:
    yield os.setsid
    if "mount" in settings.layers:
        yield from namespaces.own_scratch(settings)
    yield partial(os.chdir, folder)
    if os.environ.get("TMPDIR") != folder:
        yield partial(_call_home, folder)
    yield partial(apply_limits, limits_of(settings))
    if "privileges" in settings.layers:
        yield dying_with_parent()
        yield traceable(False)
        yield gaining_none()
        yield having_none()
    if "landlock" in settings.layers:
        own = SCRATCH_HOLDER if "mount" in settings.layers else folder
        yield landlock.confining(landlock.ruleset(settings.readable, own, DEVICES))
    yield partial(os.closerange, first_to_close, os.sysconf("SC_OPEN_MAX"))
    if "filter" in settings.layers:
        yield seccomp.Filter(seccomp.child_program(machine())).apply


def _call_home(folder: str) -> None:
    os.environ.update(HOME=folder, TMPDIR=folder)
