"""What the processes of one run share. With one process everything here gives back what it was given.

    ranks.join()                                             # once, before any model is on a device
    own = ranks.share_of(groups)                             # this process's part of a step
    rows = ranks.share_out(prompts, generate, like=content)  # each process does its part, all of them get everything

Nothing else in the engine knows torch.distributed. All functions but share_of, rank, count and is_main wait for the
other processes, so that every process has to call them, in the same order. Limits: what is exchanged is pickled, which
suits texts and figures; gradients and weights go through accelerate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from copgkit.errors import CopgkitError
from copgkit.launched import MEETING_FILE

T = TypeVar("T")
R = TypeVar("R")
N = TypeVar("N", int, float)

_PATIENCE = timedelta(days=1)
"""How long a process waits for the others: one may have to ask a slow judge for hours. A process that has died is seen
at once, by whoever launched it."""
_kept: list[object] = []
"""Every meeting of this process. The last reference to one must not go while Python runs: the destructor waits for a
thread of gloo's with the interpreter locked, and that thread may wait for the interpreter to let go of a tensor."""


def join() -> None:
    """Meets the other processes, if this one was launched beside others (RANK, WORLD_SIZE and so on are set).

    Raises CopgkitError where there are more processes than GPUs to give each one of its own.
    """
    from accelerate import PartialState

    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if torch.cuda.is_available() and beside > torch.cuda.device_count() and not _wants_cpu():
        raise CopgkitError(
            f"{beside} processes were launched, and there are {torch.cuda.device_count()} GPUs. Start as many as there"
            " are GPUs, or hide those with CUDA_VISIBLE_DEVICES= to run on the CPU."
        )
    if "LOCAL_RANK" in os.environ:
        PartialState(cpu=not torch.accelerator.is_available() or _wants_cpu(), timeout=_PATIENCE, **_meeting_place())
        _kept.append(distributed.group.WORLD)


@contextmanager
def joined() -> Iterator[None]:
    """Meets the other processes as `join` does, and parts from them afterwards."""
    join()
    try:
        yield
    finally:
        if _several():
            distributed.destroy_process_group()


def count() -> int:
    """How many processes work on this run."""
    return distributed.get_world_size() if _several() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if _several() else 0


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def share_of(items: Sequence[T]) -> list[T]:
    """This process's part: every item belongs to one process, and no process has two more than another."""
    return list(items[rank() :: count()])


def share_out(
    items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]], like: Callable[[T], str] | None = None
) -> list[R]:
    """work(items), a result for each item in order, of which each process has done a part.

    like: items of the same name go to the same process, where what they have in common is done once. A process without
    a part does not call work.
    """
    if count() == 1:
        return list(work(items))
    owners = _owners(items, like)
    own = [item for item, owner in zip(items, owners, strict=True) if owner == rank()]
    parts = [iter(part) for part in gathered(list(work(own)) if own else [])]
    return [next(parts[owner]) for owner in owners]


def gathered(value: T) -> list[T]:
    """What every process gives, by rank."""
    if count() == 1:
        return [value]
    values: list[T | None] = [None] * count()
    distributed.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def from_main(make: Callable[[], T]) -> T:
    """What the main process makes; the others do not make it."""
    if count() == 1:
        return make()
    values = [make() if is_main() else None]
    distributed.broadcast_object_list(values)
    return values[0]  # type: ignore[return-value]


def summed(figures: Mapping[str, N]) -> dict[str, N]:
    """The figures added up over all processes, by name."""
    total: dict[str, N] = {}
    for part in gathered(dict(figures)):
        for name, value in part.items():
            total[name] = total[name] + value if name in total else value
    return total


def require_same(what: str, value: str) -> None:
    """Raises CopgkitError in every process if they do not all have the same value."""
    values = gathered(value)
    different = next((number for number, other in enumerate(values) if other != values[0]), None)
    if different is not None:
        raise CopgkitError(
            f"process {different} of {len(values)}: its {what} is another than that of process 0"
            f" ({_difference(values[0], values[different])}). Start all of them alike."
        )


def _owners(items: Sequence[T], like: Callable[[T], str] | None) -> list[int]:
    """The process of each item: one after the other, in the order in which their names first come."""
    if like is None:
        return [number % count() for number in range(len(items))]
    numbers: dict[str, int] = {}
    return [numbers.setdefault(like(item), len(numbers)) % count() for item in items]


def _difference(one: str, other: str) -> str:
    """The first line in which two texts differ."""
    lines, others = one.splitlines(), other.splitlines()
    for line, against in zip(lines, others, strict=False):
        if line != against:
            return f"{line.strip()!r} against {against.strip()!r}"
    return f"{len(lines)} lines against {len(others)}"


def _meeting_place() -> dict[str, Any]:
    """Where processes of one machine meet, if they were given a file for it; else the launcher's address is used."""
    file = os.environ.get(MEETING_FILE)
    if file is None:
        return {}
    return {
        "init_method": f"file://{file}",
        "rank": int(os.environ["RANK"]),
        "world_size": int(os.environ["WORLD_SIZE"]),
    }


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _wants_cpu() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
