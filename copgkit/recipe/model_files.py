"""What a model folder says about its size, read from headers alone: no weights, no torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_HEADER = 100 << 20  # the limit of the format itself


@dataclass(frozen=True)
class ModelFacts:
    """Size and shape of a model; None where its files do not say. how: where the number of parameters is from, or why
    it is not known."""

    parameters: int | None = None
    layers: int | None = None
    hidden: int | None = None
    vocabulary: int | None = None
    how: str = ""


def model_facts(model: str, folder: Path) -> ModelFacts:
    """The facts of a model folder, relative to the recipe's; a hub model is not looked up."""
    path = folder / Path(model).expanduser()
    if not path.is_dir():
        return ModelFacts(how="no such folder beside the recipe, so a hub model; it is not read here")
    config = _json(path / "config.json")
    layers = _first(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
    hidden = _first(config, "hidden_size", "n_embd", "d_model", "dim")
    shape = (layers, hidden, _first(config, "vocab_size"))
    files = _weight_files(path)
    if not files:
        return ModelFacts(None, *shape, "the model folder holds no safetensors file")
    try:
        parameters = sum(parameters_in(file) for file in files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        return ModelFacts(None, *shape, f"its safetensors header cannot be read ({fault})")
    return ModelFacts(parameters, *shape, "counted in the header of its safetensors")


def parameters_in(file: Path) -> int:
    """The number of elements in a safetensors file: a little-endian 64-bit length, then a JSON header with shapes."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= LARGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(stream.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _weight_files(path: Path) -> list[Path]:
    """The safetensors files that transformers would load: the shards of the index, or the one file."""
    index = _json(path / "model.safetensors.index.json").get("weight_map")
    single = path / "model.safetensors"
    if isinstance(index, dict):
        return [path / name for name in sorted({name for name in index.values() if isinstance(name, str)})]
    return [single] if single.is_file() else []


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _first(config: dict[str, Any], *names: str) -> int | None:
    """The first of these keys that is a whole number; the names differ between architectures."""
    nested = config.get("text_config")
    for source in (config, nested if isinstance(nested, dict) else {}):
        for name in names:
            if isinstance(source.get(name), int):
                return int(source[name])
    return None
