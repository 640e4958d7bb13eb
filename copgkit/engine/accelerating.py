"""What accelerate is asked for: the precision, the trackers, and the ways to share a model among processes.

    accelerator = make_accelerator(settings.precision)
    optimiser = prepare(accelerator, policy, settings)        # policy.module is now the wrapped one

Limits: accelerate keeps one state a process, so that only one run at a time may have one.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from copgkit.engine import sharding
from copgkit.engine.policy import Policy

if TYPE_CHECKING:
    from copgkit.engine.training import TrainingSettings


def make_accelerator(precision: str, trackers: Sequence[str] = (), folder: Path | None = None) -> Accelerator:
    """accelerate's Accelerator for `train.precision`, with trackers such as "tensorboard" writing into folder."""
    wanted = "bf16" if precision == "bf16" else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", wanted) != wanted:
        AcceleratorState._reset_state()  # an earlier run of this process had another precision
    # Buffers never change, and sending them along would make every forward pass wait for the other processes.
    parallel = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    with _sharding_is_ours():
        return Accelerator(
            mixed_precision=wanted, log_with=list(trackers) or None, project_dir=folder, kwargs_handlers=[parallel]
        )


def prepare(accelerator: Accelerator, policy: Policy, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Puts the policy's module into what the processes need, and makes the optimiser of its weights.

    Raises TrainingError for a configuration of accelerate's that is not taken.
    """
    if sharding.wanted(settings.shard):
        sharding.shard(policy.module, accelerator.device)
        return _adam(policy, settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # accelerate's to mend
        wrapped: tuple[torch.nn.Module, torch.optim.Optimizer] = accelerator.prepare(
            policy.module, _adam(policy, settings)
        )
    policy.module, optimiser = wrapped
    return optimiser


def _adam(policy: Policy, settings: TrainingSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [parameter for parameter in policy.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


@contextmanager
def _sharding_is_ours() -> Iterator[None]:
    """While it lasts, accelerate does not see that FSDP is asked for: it would let processes other than the first load
    no weights, which all need to find out what a model can do."""
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # transformers asks later, when the model is loaded
    asked = os.environ.pop(sharding.ASKED, None)
    try:
        yield
    finally:
        if asked is not None:
            os.environ[sharding.ASKED] = asked
