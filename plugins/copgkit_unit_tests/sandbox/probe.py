"""Which profile this machine can give, found by trying every layer in a process of its own (`inside/trials.py`)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache

from .inside.settings import Settings
from .interpreter import bare_interpreter, readable_folders, standard_library
from .limits import SandboxUnavailable
from .profiles import LAYERS, PROFILES, Profile
from .users import slot_user, temporary_folder

_PATIENCE_SECONDS = 60.0
_NAMESPACES = (
    "Let ordinary users make user namespaces (sysctl user.max_user_namespaces above 0, and where AppArmor restricts"
    " them kernel.apparmor_restrict_unprivileged_userns=0), or start the container with the right to make them."
)
_REMEDIES = {
    "landlock": "Boot a kernel with Landlock (Linux 5.13 or newer, `landlock` in the lsm= list).",
    "landlock-truncation": "Boot Linux 6.2 or newer.",
    "filter": "Use a kernel with seccomp filters, on x86-64 or 64-bit ARM.",
    **dict.fromkeys(("user", "mount", "pid", "net", "ipc"), _NAMESPACES),
}


@dataclass(frozen=True)
class LayerState:
    """One layer: whether it works here, and if not, why and what would help."""

    name: str
    works: bool
    why: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Probe:
    """What was found."""

    layers: tuple[LayerState, ...]

    @property
    def profile(self) -> Profile:
        """The strongest profile of which every layer works."""
        return next(profile for profile in reversed(PROFILES) if profile == "weak" or not self.missing(profile))

    def missing(self, profile: Profile) -> list[LayerState]:
        """The layers of a profile that do not work here."""
        return [layer for layer in self.layers if layer.name in LAYERS[profile] and not layer.works]

    def demand(self, profile: Profile) -> None:
        """Raise SandboxUnavailable, naming layer and remedy, unless the profile can be had."""
        for layer in self.missing(profile):
            raise SandboxUnavailable(
                f"sandbox profile '{profile}': the layer '{layer.name}' does not work here ({layer.why})."
                f" {layer.remedy} The strongest profile here is '{self.profile}'."
            )


@cache
def probe() -> Probe:
    """Try every layer. Takes some tens of milliseconds, the first time only."""
    with tempfile.TemporaryDirectory(prefix="copgkit-probe-", dir=temporary_folder()) as folder:
        answers = _try_all(_settings(folder)) if sys.platform == "linux" else {"limits": ""}
    names = dict.fromkeys(name for profile in PROFILES for name in LAYERS[profile])
    return Probe(tuple(_state(name, answers.get(name, "it needs Linux")) for name in names))


def _state(name: str, fault: str) -> LayerState:
    return LayerState(name, True) if not fault else LayerState(name, False, fault, _REMEDIES.get(name, ""))


def _try_all(settings: Settings) -> dict[str, str]:
    """What is wrong with each layer; nothing if it works."""
    try:
        answers, fault = _run_trials(settings), "its trial gave no answer"
    except (OSError, subprocess.SubprocessError) as error:
        answers, fault = "", f"its trial did not run: {error}"
    lines = [line.split("\t", 2) for line in answers.splitlines()]
    found = {name: "" if answer == "yes" else why or "no reason given" for name, answer, why in lines}
    return dict.fromkeys(LAYERS["full"] + LAYERS["container"], fault) | found


def _run_trials(settings: Settings) -> str:
    return subprocess.run(
        bare_interpreter("inside.trials"),
        input=repr(settings.plain()),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={},
        cwd="/",
        timeout=_PATIENCE_SECONDS,
    ).stdout


def _settings(folder: str) -> Settings:
    uid = slot_user(0)
    if uid is not None:
        os.chown(folder, uid, uid)
    return Settings(
        role="candidate",
        layers=(),
        scratch=folder,
        readable=readable_folders(standard_library()),
        library=standard_library(),
        library_home=standard_library(),
        extra_paths=(),
        uid=uid,
        cpu_seconds=5.0,
        memory_mb=512,
        threads=16,
        disk_mb=1,
        files=64,
        output_kb=64,
    )
