"""What a process knows of those that it was launched beside, from its environment. Standard library only.

`accelerate launch` and torchrun set RANK, WORLD_SIZE and their like; `copgkit run --processes` sets those and the two
files below.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

FAULT_FILE = "COPGKIT_FAULT_FILE"
"""The file into which a process writes why it fails; whoever started it says so, once for all of them."""

MEETING_FILE = "COPGKIT_MEETING_FILE"
"""The file through which processes on one machine find each other; no port is opened for it."""

_SECONDS_BETWEEN_LOOKS = 1.0


def is_one_of_several() -> bool:
    """Whether other processes were launched with this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_with_deepspeed() -> bool:
    """Whether accelerate's configuration asks for DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() in ("1", "true", "yes")


def is_main() -> bool:
    """Whether this process is the one that speaks."""
    return os.environ.get("RANK", "0") == "0" or not is_one_of_several()


def tell(fault: str) -> None:
    """Prints why this process fails, or leaves that to the one that started it."""
    file = os.environ.get(FAULT_FILE)
    if file is None:
        print(fault, file=sys.stderr)
    else:
        Path(file).write_text(fault + "\n", encoding="utf-8")


def end_at_once(status: Callable[[], int]) -> None:
    """Has one of several processes end with this status after all that is registered for its end, and without taking
    the interpreter apart. Call it before anything else registers something.

    A thread of gloo's may then still hold a tensor of Python's, and letting go of it in an interpreter that is half
    gone aborts the process: a command whose work was done and said failed in one of three to twelve calls.
    """

    def end() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status())

    if is_one_of_several():
        atexit.register(end)  # what is registered first is called last


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone, even if that was killed and could not say so."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    if FAULT_FILE in os.environ:
        threading.Thread(target=watch, name="end_with_parent", daemon=True).start()
