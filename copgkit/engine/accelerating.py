"""What accelerate is asked for: the precision, the trackers, and the ways to share a model among processes.

    accelerator = make_accelerator(settings.precision)
    optimiser = prepare(accelerator, policy, settings)        # policy.module is now the wrapped one

Limits: accelerate keeps one state a process, so that only one run at a time may have one.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from copgkit.engine import sharding, zero
from copgkit.engine.float32_copies import Float32Copies
from copgkit.engine.policy import Policy
from copgkit.errors import TrainingError

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
        try:
            accelerator = Accelerator(
                mixed_precision=wanted, log_with=list(trackers) or None, project_dir=folder, kwargs_handlers=[parallel]
            )
        except ImportError as fault:  # of DeepSpeed, or of a tracker
            raise TrainingError(f"accelerate: {fault}") from fault
    if zero.is_used(accelerator):
        zero.require_taken(accelerator, precision)
    return accelerator


def prepare(accelerator: Accelerator, policy: Policy, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Puts the policy's module into what the processes need, and makes the optimiser of its weights.

    Raises TrainingError for a configuration of accelerate's that is not taken.
    """
    if sharding.wanted(settings.shard):
        sharding.shard(policy.module, accelerator.device)
        return _adam(policy, settings)
    if zero.is_used(accelerator):
        optimiser = _adam(policy, settings, copies=False)  # it makes its own
        policy.module, optimiser = zero.prepare(accelerator, policy.module, optimiser, settings)
        return optimiser
    optimiser = _adam(policy, settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # accelerate's to mend
        wrapped: tuple[torch.nn.Module, torch.optim.Optimizer] = accelerator.prepare(policy.module, optimiser)
    policy.module, optimiser = wrapped
    return optimiser


@contextmanager
def one_pass(accelerator: Accelerator, module: torch.nn.Module, last: bool) -> Iterator[None]:
    """Around each forward and backward pass of a step. Gradients are added up over the processes in the last one, those
    of divided weights in every one."""
    accelerator.gradient_state._set_sync_gradients(last)  # which is what DeepSpeed's engine is told
    with nullcontext() if last or zero.is_used(accelerator) else accelerator.no_sync(module):
        yield


def _adam(policy: Policy, settings: TrainingSettings, copies: bool = True) -> torch.optim.Optimizer:
    """AdamW; beside weights of 16 bits, with float32 copies of them."""
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    coarse = any(parameter.dtype in (torch.bfloat16, torch.float16) for parameter in trained)
    return (Float32Copies if coarse and copies else torch.optim.AdamW)(
        trained, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
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
