"""A model's weights as files that transformers reads: whole, adapters added, each file written once.

save_weights(model, folder)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copgkit.engine import lora, ranks, sharding


def save_weights(model: Any, folder: Path) -> None:
    """Writes the model in safetensors. Every process calls it, since each may have a part of the weights; the main one
    writes. With adapters, their updates are added, and they alone are in a folder within; beside weights of four bits
    they are all there is.
    """
    with_adapters, only_they = lora.is_attached(model), getattr(model, "is_quantized", False)
    weights = None if only_they else sharding.gathered(lora.merged_weights(model))
    own = sharding.gathered(lora.adapter_weights(model)) if with_adapters else None
    if not ranks.is_main():
        return
    if weights is not None:
        model.save_pretrained(folder, state_dict=weights)
    if own is not None:
        lora.save_adapter(model, own, folder if only_they else folder / lora.ADAPTER)
