"""What accelerate is asked for: the precision, the trackers, and the wrappers for the processes that there are.

    accelerator = make_accelerator(settings.precision)
    policy.module, optimiser = prepared(accelerator, policy.module, optimiser)

Limits: accelerate keeps one state a process, so that only one run at a time may have one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs


def make_accelerator(precision: str, trackers: Sequence[str] = (), folder: Path | None = None) -> Accelerator:
    """accelerate's Accelerator for `train.precision`, with trackers such as "tensorboard" writing into folder."""
    wanted = "bf16" if precision == "bf16" else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", wanted) != wanted:
        AcceleratorState._reset_state()  # an earlier run of this process had another precision
    # Buffers never change, and sending them along would make every forward pass wait for the other processes.
    parallel = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    return Accelerator(
        mixed_precision=wanted, log_with=list(trackers) or None, project_dir=folder, kwargs_handlers=[parallel]
    )


def prepared(
    accelerator: Accelerator, module: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Both as accelerate wraps them for the processes there are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # accelerate's to mend
        wrapped: tuple[torch.nn.Module, torch.optim.Optimizer] = accelerator.prepare(module, optimiser)
    return wrapped
