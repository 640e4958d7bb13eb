"""Weights, gradients and the optimiser's state divided among the processes: FSDP2, which is torch's `fully_shard`.

    if sharding.wanted(settings.shard):
        sharding.shard(policy.module, device)          # in place, before the optimiser is made
    with sharding.whole(policy.module):                # generation, or anything that processes do at their own pace
        ...
    weights = sharding.gathered(model.state_dict(keep_vars=True))      # what is saved

A layer's weights are gathered when the layer is computed, forward and backward, and let go of after it; its gradient is
added up over the processes after every backward pass. So all processes have to make the same passes in the same order;
outside training, where they do not, the weights are whole. `train.shard` asks for it, or an accelerate configuration
with FSDP of version 2; the calls are torch's own in both cases, so that what is tested on a CPU is what runs on GPUs.
Limits: every process loads the whole model first, and needs room for it whenever it generates or evaluates.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from copgkit.engine import ranks
from copgkit.engine.loading import layers
from copgkit.errors import TrainingError

ASKED = "ACCELERATE_USE_FSDP"
"""The variable by which `accelerate launch` says that its configuration has FSDP."""

_NOT_TAKEN = {
    "FSDP_OFFLOAD_PARAMS": "fsdp_offload_params",
    "FSDP_ACTIVATION_CHECKPOINTING": "fsdp_activation_checkpointing (train.gradient_checkpointing is the same)",
    "FSDP_IGNORED_MODULES": "fsdp_ignored_modules",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "parallelism_config",
}


def wanted(shard: bool) -> bool:
    """Whether weights are to be divided: the recipe or accelerate's configuration says so, and there is somebody to
    share them with. Raises TrainingError for a configuration that is not taken."""
    if _says(ASKED):
        _require_taken()
        return ranks.count() > 1
    return shard and ranks.count() > 1


def shard(module: torch.nn.Module, device: torch.device) -> None:
    """Divides the weights of every layer, and of what is left, among the processes. All of them call it, with the same
    weights. Raises TrainingError where weights of several types would have to share a layer."""
    types = {parameter.dtype for parameter in module.parameters()}
    if len(types) > 1:
        named = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in types))
        raise TrainingError(
            f"train.shard: the weights have several types ({named}), which cannot be divided together. Set policy.dtype"
            " to float32, or leave out train.shard and policy.quantise."
        )
    mesh = init_device_mesh(device.type, (ranks.count(),))
    after_forward = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false"
    for layer in layers(module):
        fully_shard(layer, mesh=mesh, reshard_after_forward=after_forward)
    root = fully_shard(module, mesh=mesh, reshard_after_forward=False)
    root._get_fsdp_state()._lazy_init()  # else the first layer that generates would take itself for the whole


@contextmanager
def whole(module: torch.nn.Module) -> Iterator[None]:
    """While it lasts, the module's weights are whole in every process, and a process may use them without the others.
    All processes enter and leave. Does nothing for a module that is not divided."""
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    kept = [part for part in parts if not _lets_go_after_forward(part)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(part not in kept, recurse=False)
            part.reshard()
            _forget_passes(part)


@torch.no_grad()
def gathered(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, whole, in every process; all of them call it. What stands under two names stays one tensor."""
    whole = {
        id(value): value.full_tensor() if isinstance(value, DTensor) else value.detach() for value in weights.values()
    }
    return {name: whole[id(value)] for name, value in weights.items()}


def _forget_passes(part: FSDPModule) -> None:
    """Has the next backward pass know nothing of the passes so far. By their order it gathers layers ahead; where a
    process has made more of them than another, it would gather what the other does not, and both wait for ever."""
    state = part._get_fsdp_state()
    state._comm_ctx.post_forward_order.clear()
    for group in state._fsdp_param_groups:
        group._post_forward_indices.clear()


def _lets_go_after_forward(part: FSDPModule) -> bool:
    return any(group._reshard_after_forward for group in part._get_fsdp_state()._fsdp_param_groups)


def _require_taken() -> None:
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise TrainingError("accelerate: FSDP of version 1 is not supported. Set fsdp_version: 2 in its configuration.")
    for variable, key in _NOT_TAKEN.items():
        if _says(variable):
            raise TrainingError(f"accelerate: {key} is not supported. Leave it out of the configuration.")


def _says(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("", "0", "false", "no", "none")
