"""A model's layers, compiled by torch.compile for the passes that are trained on (`train.compile`).

    compiling.compile_layers(model, device)        # in place; the first pass takes minutes
    with compiling.eager():                        # generation, references and evaluation stay as they are
        ...

Layers are compiled one by one, with lengths left open: what one layer needs serves all of its kind and every batch.
Attention by blocks, which calls torch's own kernel, and the output head stay as they are. Limits: compilation takes a
C++ compiler on a CPU and Triton on a GPU, and it was tried on a CPU only.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch._dynamo.utils import counters
from transformers import AttentionInterface

from copgkit.engine import shared_attention
from copgkit.engine.loading import layers
from copgkit.errors import ModelError

_BACKEND = "inductor"


def compile_layers(model: torch.nn.Module, device: torch.device) -> None:
    """Has each layer compiled when it is first computed; what was compiled for another model is forgotten. Raises
    ModelError where there is no compiler, and for a model that does not say what its layers are."""
    _require_compiler(device)
    found = layers(model)
    if not found:
        raise ModelError("train.compile: this model does not say what its layers are. Set it to false.")
    torch.compiler.reset()  # torch gives up on code that it compiled for several models
    AttentionInterface.register(shared_attention.NAME, torch.compiler.disable(shared_attention.attend))
    for layer in found:
        layer.compile(dynamic=True, backend=_BACKEND)


def undo(model: torch.nn.Module) -> None:
    """The layers as they were."""
    for layer in layers(model):
        layer._compiled_call_impl = None


def eager() -> AbstractContextManager[object]:
    """While it lasts, nothing compiled is used."""
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def graphs() -> int:
    """How many graphs were compiled in this process so far."""
    return int(counters["stats"]["unique_graphs"])


def _require_compiler(device: torch.device) -> None:
    if device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as fault:
            raise ModelError(
                "train.compile: it needs a C++ compiler, such as g++. Install one, or set it to false."
            ) from fault
    else:
        from torch.utils._triton import has_triton

        if not has_triton():
            raise ModelError("train.compile: it needs Triton on this device. Install it, or set it to false.")
