"""What a process knows of those that it was launched beside, from its environment. Standard library only.

`accelerate launch` and torchrun set RANK, WORLD_SIZE and their like; `copgkit run --processes` sets those and the two
files below.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

FAULT_FILE = "COPGKIT_FAULT_FILE"
"""The file into which a process writes why it fails; whoever started it says so, once for all of them."""

MEETING_FILE = "COPGKIT_MEETING_FILE"
"""The file through which processes on one machine find each other; no port is opened for it."""

_SECONDS_BETWEEN_LOOKS = 1.0


def is_one_of_several() -> bool:
    """Whether other processes were launched with this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


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


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone, even if that was killed and could not say so."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    if FAULT_FILE in os.environ:
        threading.Thread(target=watch, name="end_with_parent", daemon=True).start()
