"""Several processes on this machine that meet through torch.distributed, as a launcher would start them.

    results = in_processes(2, function, argument)      # by rank; what one of them raises is raised here

They come from a server that has imported torch once, so that a test does not wait for that in every process.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

_SECONDS = 600
_IMPORTED_ONCE = [
    "copgkit.runner", "copgkit.engine.causal_lm", "copgkit.engine.training", "transformers.models.llama.modeling_llama",
    "datasets", "evaluate", "matplotlib.backends.backend_svg",
]  # fmt: skip


class ProcessFailed(Exception):
    """What went wrong in one of the processes, as its traceback."""


def in_processes(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """The results of work(*arguments) in each process; work is a function of a module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    answers = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        places = [_place(rank, count, folder) for rank in range(count)]
        processes = [context.Process(target=_serve, args=(answers, place, work, arguments)) for place in places]
        for process in processes:
            process.start()
        try:
            results = dict(_next_answer(answers) for _ in processes)
        finally:
            for process in processes:
                process.kill()
                process.join()
    return [results[rank] for rank in range(count)]


def _place(rank: int, count: int, folder: str) -> dict[str, str]:
    """The environment of a process."""
    ours = {name: value for name, value in os.environ.items() if name.startswith(("COPGKIT", "HF_"))}
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "OMP_NUM_THREADS": 1}
    return ours | {name: str(value) for name, value in numbers.items()} | {"COPGKIT_MEETING_FILE": f"{folder}/meeting"}


def _next_answer(answers: Any) -> tuple[int, Any]:
    if not answers._reader.poll(_SECONDS):
        raise ProcessFailed(f"no answer in {_SECONDS} seconds")
    rank, result, fault = answers.get()
    if fault is not None:
        raise fault if isinstance(fault, Exception) else ProcessFailed(fault)
    return rank, result


def _serve(answers: Any, place: dict[str, str], work: Callable[..., Any], arguments: Any) -> None:
    import torch

    from copgkit import CopgkitError
    from copgkit.engine import ranks

    os.environ.update(place)
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(_SECONDS - 10)  # where each process waits, for the log
    rank = int(place["RANK"])
    try:
        ranks.join()
        answers.put((rank, work(*arguments), None))
    except CopgkitError as fault:
        answers.put((rank, None, fault))
    except BaseException:
        answers.put((rank, None, traceback.format_exc()))
