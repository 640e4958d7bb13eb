"""What a zygote is told when it starts: which layers to put up, where, and the limits of one execution."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .plain import Plain


@dataclass(frozen=True)
class Settings:
    """Everything a zygote and its children need to know. Crosses the control socket as plain data."""

    role: str  # "candidate" or "tests"
    layers: tuple[str, ...]  # names of `sandbox.profiles`
    scratch: str  # folder an execution may write in: made fresh each time, or a tmpfs is mounted on it
    readable: tuple[str, ...]  # folders of the interpreter and of extra libraries
    library: str  # the standard library, if need be a copy
    library_home: str  # where the interpreter thinks that it is
    extra_paths: tuple[str, ...]  # more folders to import from
    uid: int | None  # who to become, if started as root
    cpu_seconds: float
    memory_mb: int
    threads: int
    disk_mb: int
    files: int
    output_kb: int

    def plain(self) -> Plain:
        """As a message."""
        return asdict(self)
