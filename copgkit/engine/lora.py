"""Low-rank adapters (LoRA: Hu et al., arXiv:2106.09685): a few weights are trained beside frozen ones.

    lora.attach(model, rank=16, alpha=32, target="all-linear", base="path/or/hub-name", seed=0)
    with lora.switched_off(model):          # the base model, which is the reference: there is no second copy of it

An adapter starts with an update of 0, so that policy and reference begin as the same model. Adapters have no dropout:
the loss compares two log-probabilities of one completion, which noise in one of them would spoil. Needs the extra
`copgkit[peft]`. Limits: adapters on linear layers; the base model stays as it is, so that the reference cannot move.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copgkit.errors import ModelError

_NAME = "default"
ADAPTER = "adapter"
"""The folder of the adapter alone, inside that of the whole model."""


def attach(model: Any, rank: int, alpha: float, target: str | Sequence[str], base: str, seed: int) -> None:
    """Puts adapters beside the layers that `target` names and freezes everything else.

    target: "all-linear" (all but the output head) or the ends of layer names. base: what the saved adapter says it
    belongs to. The global random state is not touched. Raises ModelError.
    """
    peft = _library()
    target_modules = target if isinstance(target, str) else list(target)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=target_modules,
        fan_in_fan_out=any(type(part).__name__ == "Conv1D" for part in model.modules()),  # GPT-2's linear layers
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(config, model, _NAME)
    except ValueError as fault:
        reason = " ".join(str(fault).split())[:300]
        raise ModelError(
            f"policy.lora.target: {target!r} does not fit this model. Name its layers. ({reason})"
        ) from fault
    _require_linear(model)


def is_attached(model: torch.nn.Module) -> bool:
    """Whether the model has adapters."""
    return any(True for _ in _layers(model))


def changes_nothing(model: torch.nn.Module) -> bool:
    """Whether the adapters' updates are still 0: with them or without, the model is the same."""
    return all(not layer.lora_B[_NAME].weight.any() for _, layer in _layers(model))


@contextmanager
def switched_off(model: torch.nn.Module) -> Iterator[None]:
    """While it lasts, the model is the base model."""
    layers = [layer for _, layer in _layers(model)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@torch.no_grad()
def merged_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """The weights of the base model with the updates added, under the names that it has without adapters. The model
    keeps its own: adding and taking away again would leave other last digits in the reference."""
    updated = dict(_layers(model))
    weights: dict[str, Tensor] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        place, _, kind = name.rpartition(".base_layer.")
        if place:
            update = updated[place].get_delta_weight(_NAME) if kind == "weight" else 0
            weights[f"{place}.{kind}"] = value + update
        elif ".lora_" not in name:
            weights[name] = value
    return weights


def adapter_weights(model: Any) -> dict[str, Tensor]:
    """The weights of the adapter alone, under peft's names."""
    own: dict[str, Tensor] = _library().get_peft_model_state_dict(
        model, adapter_name=_NAME, save_embedding_layers=False
    )
    return own


def save_adapter(model: Any, own: Mapping[str, Tensor], folder: Path) -> None:
    """Writes the adapter's weights as peft and transformers read them: a few megabytes that need the base model."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"base_model.model.{name}": value.detach().cpu().contiguous() for name, value in own.items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config[_NAME]
    config.inference_mode = True
    config.save_pretrained(str(folder))


def _require_linear(model: Any) -> None:
    """Raises ModelError for adapters on embeddings, whose weights may be the output head's as well."""
    embedding = model.get_input_embeddings().weight
    for name, layer in _layers(model):
        if _NAME not in layer.lora_B or layer.get_base_layer().weight is embedding:
            raise ModelError(
                f"policy.lora.target: {name} is an embedding, or an output head that shares its weights with one. Name"
                " other layers."
            )


def _layers(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers with an adapter, by name."""
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "lora_B"))


def _library() -> Any:
    try:
        import peft
    except ImportError as fault:
        raise ModelError(
            f"policy.lora: adapters need the package peft. Install it: pip install 'copgkit[peft]'. ({fault})"
        ) from fault
    return peft
