"""What a command asks of threads, memory and the interpreter before torch is there. The user's settings go first."""

from __future__ import annotations

import atexit
import gc
import os

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # glibc's numbers for what mallopt sets


def wait_briefly() -> None:
    """Lets torch's threads sleep after some microseconds of waiting for each other.

    By default they go on asking for milliseconds. Where another program keeps a core busy, that is most of the time:
    64 prompts of tldr.yaml took 42 to 46 s to complete on two crowded cores, and 7 to 8 s so; on idle ones 0.64 to 0.70
    against 0.69 to 0.72. The library of the threads reads this when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def keep_freed_memory() -> None:
    """Has glibc keep up to 1 GB of what torch frees, instead of giving it back and getting it anew, page by page, in
    every pass. Elsewhere it does nothing.

    Blocks of more than 32 MB still go back at once, as they do by default. On two cores a training step was 3 to 5 %
    faster (8 layers of 512: 1.92 s instead of 2.02 at K = 2, 3.59 s instead of 3.70 at K = 8), and four steps of
    tldr.yaml had 0 to 3,000 page faults instead of 30,000 to 60,000.
    """
    import ctypes

    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**25)
    mallopt(_TRIM_THRESHOLD, 2**30)


def end_without_search() -> None:
    """Has the interpreter end without looking for unreachable cycles, which it does several times: through a million
    objects of torch and transformers that takes 1.2 s. What is reachable is taken apart and closed as ever."""
    atexit.register(gc.freeze)
