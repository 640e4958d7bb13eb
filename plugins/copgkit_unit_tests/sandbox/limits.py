"""What one execution may use, and how it may end other than by an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GoneKind = Literal["exited", "killed", "timeout", "memory", "output", "protocol", "starved", "infrastructure"]


@dataclass(frozen=True)
class Limits:
    """Limits of one execution: of one session, all its calls together."""

    cpu_seconds: float = 2.0  # processor time of all its threads
    wall_seconds: float = 6.0  # time the supervisor waits for it; looser, and less the time it queued for a processor
    memory_mb: int = 512  # address space, the interpreter's own included (about 40)
    threads: int = 64
    disk_mb: int = 16
    files: int = 64  # open descriptors
    output_kb: int = 1024  # one reply, or a program's whole standard output


class SandboxGone(Exception):
    """An execution ended without an answer.

    kind: `exited` (of its own accord), `killed` (by a signal it caused), `timeout`, `memory`, `output` (more than
    allowed, or more written to disk), `protocol` (what it said is no message): the code's own fault. `starved` (the
    machine was too busy to tell) and `infrastructure` (the sandbox failed): nobody's.
    """

    def __init__(self, kind: GoneKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: GoneKind = kind
        self.detail = detail

    @property
    def is_the_codes_fault(self) -> bool:
        """Whether the code under test is to blame."""
        return self.kind not in ("starved", "infrastructure")


class SandboxUnavailable(Exception):
    """A profile cannot be had here. Says which layer is missing, why, and what would help."""
