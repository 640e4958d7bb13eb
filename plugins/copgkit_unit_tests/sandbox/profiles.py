"""The three profiles and the layers each is made of. A profile is had with all of its layers, or not at all."""

from __future__ import annotations

from typing import Literal

Profile = Literal["weak", "container", "full"]

PROFILES: tuple[Profile, ...] = ("weak", "container", "full")  # from the weakest to the strongest

LAYERS: dict[Profile, tuple[str, ...]] = {
    "weak": ("limits",),
    "container": ("limits", "privileges", "landlock", "landlock-truncation", "filter"),
    "full": ("limits", "privileges", "landlock", "filter", "user", "mount", "pid", "net", "ipc"),
}


def at_least(found: Profile, wanted: Profile) -> bool:
    """Whether a profile is as strong as the one asked for."""
    return PROFILES.index(found) >= PROFILES.index(wanted)
