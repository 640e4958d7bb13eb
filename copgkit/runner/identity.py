"""What makes two starts the same run: recipe, data, models, plugins, libraries, and how many processes share it.

    then, now = read_identity(folder), identity_of(resolved, processes)
    differences(then, now)      # ["objective.beta was 0.1 and is 0.2"]
    elsewhere(then, now)        # ["threads was 2 and is 1"]: the same run, with other last digits

A folder of another run is refused before any model is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from copgkit.recipe import ResolvedRecipe
from copgkit.redaction import redacted_data
from copgkit.store import hashes_of, installed_versions, machine, write_whole

FILE = "started.json"
_FREE = ("output", "scoring.store", "train.checkpoint_every", "train.on_failed_checkpoint", "train.trackers")
"""Keys of a recipe that no result depends on."""
_LIBRARIES = ("copgkit", "python", "torch", "transformers", "tokenizers", "accelerate", "numpy", "peft")

_PARTS = ("recipe", "files", "versions", "processes")
_COMPUTED_ON = "computed_on"

Identity = Mapping[str, Any]
"""{"recipe": values by key, "files": hashes, "versions": of libraries, "processes", "computed_on": what last digits
depend on}, and "forced": what was changed on the way, in words."""


def identity_of(resolved: ResolvedRecipe, processes: int) -> Identity:
    """What a run is, in plain data. Reads every file that the recipe names, models among them."""
    values = {key: value for key, value in resolved.values() if not key.startswith(_FREE)}
    versions = installed_versions()
    identity = {
        "recipe": redacted_data(values),
        "files": hashes_of(named_paths(resolved), resolved.folder),
        "versions": {name: versions[name] for name in _LIBRARIES if name in versions},
        "processes": {"processes": processes},
        _COMPUTED_ON: _computed_on(),
    }
    plain: Identity = json.loads(json.dumps(identity, default=str))  # as it is when it was written and read
    return plain


def named_paths(resolved: ResolvedRecipe) -> dict[str, str]:
    """Values of the recipe that may be paths, by dotted key."""
    values = dict(resolved.values())
    paths = {key: value for key, value in values.items() if isinstance(value, str) and not key.startswith(_FREE)}
    return paths | {f"plugins[{n}]": file for n, file in enumerate(resolved.recipe.plugins)}


def hash_of(identity: Identity) -> str:
    """A name for all of it, which its checkpoints bear."""
    return hashlib.sha256(json.dumps([identity[part] for part in _PARTS], sort_keys=True).encode()).hexdigest()


def differences(then: Identity, now: Identity) -> list[str]:
    """In what two starts differ, each in words."""
    return list(_differences(then, now))


def elsewhere(then: Identity, now: Identity) -> list[str]:
    """In what last digits may differ though the run is the same, each in words. Nothing is known of a folder that an
    earlier version has begun."""
    return list(_differences_of(_COMPUTED_ON, then, now)) if _COMPUTED_ON in then else []


def write_identity(folder: Path, identity: Identity) -> None:
    """Says in a run folder what runs there."""
    write_whole(folder / FILE, [json.dumps(identity, indent=1) + "\n"])


def read_identity(folder: Path) -> Identity | None:
    """What runs in this folder; None for a folder that is no run's."""
    try:
        identity = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return identity if isinstance(identity, dict) else None


def _differences(then: Identity, now: Identity) -> Iterator[str]:
    for part in _PARTS:
        yield from _differences_of(part, then, now)


def _differences_of(part: str, then: Identity, now: Identity) -> Iterator[str]:
    old, new = then.get(part, {}), now.get(part, {})
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield f"{key} was {_shown(old.get(key))} and is {_shown(new.get(key))}"


def _computed_on() -> Mapping[str, Any]:
    """In which order numbers are added up, and by which instructions."""
    import torch
    from accelerate import PartialState

    device = PartialState().device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": f"{machine().get('processor', 'unknown')} ({torch.backends.cpu.get_cpu_capability()})",
        "threads": torch.get_num_threads(),
    }


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
