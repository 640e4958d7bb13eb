"""What a training is at the end of a step: enough to go on as if nothing had happened, bit for bit.

    tensors, facts = checkpoints.state_of(training)      # every process asks; weights of all processes are whole
    position = checkpoints.position_of(training)         # cheap, right after a step
    checkpoints.save_tensors(tensors, file)
    checkpoints.restore(training, checkpoints.load_tensors(file), facts, position)

Tensors are the weights that are trained, AdamW's memory, and a reference that has moved; everything else is plain data.
safetensors and JSON alone: nothing that is read can run code. Limits: the states of random numbers are those of this
process and its devices; DeepSpeed keeps its weights and optimiser in a form of its own, which is not read here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from copgkit.engine.training import Training

Plain = dict[str, Any]


def state_of(training: Training) -> tuple[dict[str, Tensor], Plain]:
    """The tensors of a training by name, and what belongs to them in plain data."""
    tensors = {f"weights/{name}": _whole(value) for name, value in _trained(training)}
    optimiser = training.optimiser.state_dict()
    for place, of_weight in optimiser["state"].items():
        tensors |= {f"optimiser/{place}/{name}": _whole(value) for name, value in of_weight.items()}
    if training.reference is not None and training.reference.every is not None:
        tensors |= {f"reference/{n}": _whole(value) for n, value in enumerate(training.reference.policy.parameters())}
    scheduler = {name: value for name, value in training.scheduler.state_dict().items() if name != "lr_lambdas"}
    facts = {"param_groups": optimiser["param_groups"], "scheduler": scheduler, "policy": training.policy.state()}
    return tensors, facts


def position_of(training: Training) -> Plain:
    """How far a training is, and the states of all random numbers."""
    return {
        "step": training.step,
        "tried": training.tried,
        "bad": training.guard.count,
        "trail": training.trail,
        "order": training.order,
        "refreshes": 0 if training.reference is None else training.reference.refreshes,
        "halved": training.accumulation.halved,
        "random": random_states(),
    }


def restore(training: Training, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], position: Plain) -> None:
    """Makes a training, new and with the same settings, what another one was. Raises KeyError for what is missing."""
    for name, weight in _trained(training):
        _fill(weight, tensors[f"weights/{name}"])
    memory: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser/"):
            _, number, what = name.split("/")
            memory.setdefault(int(number), {})[what] = value
    _restore_optimiser(training, memory, facts["param_groups"])
    training.scheduler.load_state_dict({**training.scheduler.state_dict(), **facts["scheduler"]})
    training.policy.restore(facts["policy"])
    if training.reference is not None and training.reference.every is not None:
        for n, weight in enumerate(training.reference.policy.parameters()):
            _fill(weight, tensors[f"reference/{n}"])
        training.reference.refreshes = position["refreshes"]
    training.accumulation.halved = position["halved"]
    training.step, training.tried, training.guard.count = position["step"], position["tried"], position["bad"]
    training.trail = position["trail"]
    training.shuffler.setstate(_as_tuple(position["order"]))
    restore_random_states(position["random"])


def random_states() -> Plain:
    """The states of the random numbers that belong to nobody: torch's on every device, numpy's and Python's.

    They are asked for at every step and hardly ever written: arrays stay arrays (`tolist()` makes plain data of them).
    """
    return {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "torch": torch.get_rng_state(),
        "devices": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """The inverse of random_states, from arrays or plain data, for as many devices as there are."""
    random.setstate(_as_tuple(states["python"]))
    numpy.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(torch.as_tensor(states["torch"], dtype=torch.uint8))
    if states["devices"] and torch.cuda.device_count() == len(states["devices"]):
        torch.cuda.set_rng_state_all([torch.as_tensor(state, dtype=torch.uint8) for state in states["devices"]])


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Writes tensors by name. Raises OSError, RuntimeError or SafetensorError where there is no room for them."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, value in tensors.items():
        value = value.detach().contiguous().cpu()
        own[name] = value.clone() if value.data_ptr() in seen else value  # no two may lie in the same place
        seen.add(value.data_ptr())
    save_file(own, file)


def load_tensors(file: Path) -> dict[str, Tensor]:
    """What save_tensors wrote."""
    from safetensors.torch import load_file

    return load_file(file)


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """Bytes that they take."""
    return sum(value.numel() * value.element_size() for value in tensors.values())


def _trained(training: Training) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The weights that are trained, by the names they have without wrappers."""
    module = extract_model_from_parallel(training.policy.module)
    return ((name, weight) for name, weight in module.named_parameters() if weight.requires_grad)


def _restore_optimiser(training: Training, memory: dict[int, dict[str, Tensor]], groups: list[Plain]) -> None:
    """Puts AdamW's memory back, in the parts in which this process has its weights."""
    weights = [weight for group in training.optimiser.param_groups for weight in group["params"]]
    own = {
        number: {name: _as_part_of(weights[number], value) for name, value in of_weight.items()}
        for number, of_weight in memory.items()
    }
    groups = [{**group, "betas": tuple(group["betas"])} for group in groups]
    training.optimiser.load_state_dict({"state": own, "param_groups": groups})


@torch.no_grad()
def _whole(value: Tensor) -> Tensor:
    """A tensor as one; of one that several processes share, all of them have to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _as_part_of(weight: Tensor, value: Tensor) -> Tensor:
    """This process's part of a value that belongs to a weight."""
    if isinstance(weight, DTensor) and value.shape == weight.shape:
        return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
    return value


@torch.no_grad()
def _fill(weight: Tensor, value: Tensor) -> None:
    weight.copy_(_as_part_of(weight, value.to(weight.device)))


def _as_tuple(value: Any) -> Any:
    """Python's random states are tuples in tuples, and JSON knows lists alone."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value
