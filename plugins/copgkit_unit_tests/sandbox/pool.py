"""The sandbox's front door: a pool of zygotes from which executions are opened.

    with Pool("full", Limits(cpu_seconds=2.0), workers=2) as pool, pool.open("candidate") as session: ...

Drive it from `workers` threads. Candidates and tests come from separate zygotes, so that a process which holds a
completion's code was never forked from one that has seen a test.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

from .gate import Gate
from .inside.settings import Settings
from .interpreter import library_for_everyone, readable_folders, standard_library
from .limits import Limits, SandboxGone, SandboxUnavailable
from .probe import probe
from .profiles import LAYERS, Profile
from .session import Session
from .users import slot_user, temporary_folder
from .zygotes import Slot

Role = Literal["candidate", "tests"]
ROLES: tuple[Role, ...] = ("candidate", "tests")
Result = TypeVar("Result")


class Pool:
    """Owns the zygotes. A context manager; thread-safe."""

    def __init__(
        self,
        profile: Profile,
        limits: Limits,
        workers: int,
        extra_paths: Sequence[Path] = (),
        without: Collection[str] = (),
    ) -> None:
        """Start a first zygote. Raises SandboxUnavailable if a layer of the profile cannot be had here.

        extra_paths: library folders that code may import from, besides the standard library.
        without: layers to leave out, for testing that the others hold alone.
        """
        probe().demand(profile)
        self.profile: Profile = profile
        self.limits = limits
        self._extra_paths = tuple(str(path.resolve()) for path in extra_paths)
        self._layers = tuple(layer for layer in LAYERS[profile] if layer not in without)
        self._gate = Gate()
        self._lock = threading.Lock()
        self._folder = tempfile.mkdtemp(prefix="copgkit-sandbox-", dir=temporary_folder())
        os.chmod(self._folder, 0o711)
        self._library = library_for_everyone(self._folder) if self._needs_public_library() else standard_library()
        self._slots = {role: [Slot(self._settings(role, number)) for number in range(workers)] for role in ROLES}
        try:
            self._slots["candidate"][0].zygote()
        except SandboxUnavailable:
            self.close()
            raise

    def open(self, role: Role) -> Session:
        """A fresh execution. Raises SandboxGone("infrastructure") if no process can be had."""
        with self._lock:
            slot = min(self._slots[role], key=lambda slot: slot.sessions)
            slot.occupy()
        return Session(slot, self.limits)

    def execute(self, work: Callable[[], Result]) -> Result:
        """What `work` returns: a function that opens sessions and closes them again.

        If one of them starved, because the machine was too busy, the work is done once more with no other execution
        of this pool beside it. Raises SandboxGone; what starves even alone is "infrastructure".
        """
        try:
            with self._gate.together():
                return work()
        except SandboxGone as gone:
            if gone.kind != "starved":
                raise
        try:
            with self._gate.alone():
                return work()
        except SandboxGone as gone:
            if gone.kind == "starved":
                raise SandboxGone("infrastructure", f"it starved twice, {gone.detail}") from gone
            raise

    def close(self) -> None:
        """End every process and remove every folder of the pool."""
        for slot in [slot for role in ROLES for slot in self._slots[role]]:
            slot.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _settings(self, role: Role, number: int) -> Settings:
        return Settings(
            role=role,
            layers=self._layers,
            scratch=os.path.join(self._folder, f"{role}-{number}"),
            readable=readable_folders(self._library, self._extra_paths),
            library=self._library,
            library_home=standard_library(),
            extra_paths=self._extra_paths,
            uid=self._uid(role, number),
            cpu_seconds=self.limits.cpu_seconds,
            memory_mb=self.limits.memory_mb,
            threads=self.limits.threads,
            disk_mb=self.limits.disk_mb,
            files=self.limits.files,
            output_kb=self.limits.output_kb,
        )

    def _uid(self, role: Role, number: int) -> int | None:
        """A user of the slot's own, if there can be one."""
        return slot_user(1 + 2 * number + ROLES.index(role)) if "privileges" in self._layers else None

    def _needs_public_library(self) -> bool:
        """Whether a user of the slot's own has to read the host's files, where the interpreter may be out of reach."""
        return self._uid("candidate", 0) is not None and "mount" not in self._layers
