"""The order in which the layers go up: once around a zygote, then around each child, from the outermost inwards."""

from __future__ import annotations

import os

from .rlimits import apply_limits
from .settings import Settings


def enclose_zygote(settings: Settings) -> None:
    """What is put up once, before any import of the usual modules."""
    if settings.uid is not None:
        os.setgroups([])
        os.setresgid(settings.uid, settings.uid, settings.uid)
        os.setresuid(settings.uid, settings.uid, settings.uid)


def enclose_child(settings: Settings, folder: str) -> None:
    """What is put up around one execution. Afterwards nothing can be taken down again."""
    os.setsid()
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    apply_limits(settings)
