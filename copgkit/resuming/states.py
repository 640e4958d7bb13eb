"""What a run must have in common with itself when it was broken off, and where it has not.

    whole, broken = state_of(folder), state_of(other)
    whole.digest == broken.digest
    differences(broken, whole)     # ["checkpoint/training.safetensors: 2 of 9 tensors differ, first weights/a ..."]

Compared are the bytes of what a run leaves that does not depend on the clock: metrics, samples, groups, groups of steps
that were not taken, the model, and its last checkpoint: weights, optimiser, schedule, random states, the sampler's
state, counters and warnings. timing.jsonl, the model card, the report and run.json tell times, and are not compared;
what a report is made of is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from copgkit.store import RunFolder, checkpoints_in, file_hash

_FILES = ("metrics.jsonl", "samples.jsonl", "groups/*", "bad-steps/*", "model/**/*")
_CHECKPOINT = "checkpoint/"
_TENSORS = f"{_CHECKPOINT}training.safetensors"
_TELLS_TIMES = ("README.md", "MANIFEST.json")
_SHOWN = 60
_MISSING = object()


@dataclass(frozen=True)
class State:
    """hashes: sha256 by a name that the file has in every run; files: where they are. finished: all but the tensors of
    its last checkpoint is gone, and of these there is only the hash."""

    hashes: Mapping[str, str]
    files: Mapping[str, Path]
    finished: bool = False

    @property
    def digest(self) -> str:
        """One sha256 over all names and hashes."""
        return hashlib.sha256(json.dumps(sorted(self.hashes.items())).encode()).hexdigest()


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint from which the run in this folder would go on; None without one."""
    return next(reversed(checkpoints_in(RunFolder(folder).checkpoints)), None)


def state_of(folder: Path) -> State:
    """All that must be the same, of a run that was held before its report or is finished."""
    files = {file.relative_to(folder).as_posix(): file for pattern in _FILES for file in folder.glob(pattern)}
    newest = newest_checkpoint(folder)
    for file in newest.iterdir() if newest else ():
        files[_CHECKPOINT + file.name] = file
    files = {name: file for name, file in sorted(files.items()) if file.is_file() and file.name not in _TELLS_TIMES}
    hashes = {name: file_hash(file) for name, file in files.items()}
    if not (folder / "run.json").exists():
        return State(hashes, files)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return State({**hashes, _TENSORS: record["last_checkpoint"]["sha256"]}, files, finished=True)


def differences(state: State, whole: State) -> list[str]:
    """Where a state is another than that of the run without a break, a line for each file."""
    return list(_differences(state, whole))


def _differences(state: State, whole: State) -> Iterator[str]:
    gone = [name for name in whole.hashes if state.finished and name.startswith(_CHECKPOINT) and name != _TENSORS]
    for name in dict.fromkeys([*whole.hashes, *state.hashes]):
        one, other = state.hashes.get(name), whole.hashes.get(name)
        if one == other or name in gone:
            continue
        if one is None or other is None:
            yield f"{name}: {'it is missing' if one is None else 'there is none without a break'}"
        elif name in state.files:
            yield f"{name}: {_difference(state.files[name], whole.files[name])}"
        else:
            yield f"{name}: its sha256 is {one}, and {other} without a break"


def _difference(file: Path, whole: Path) -> str:
    """In what two files differ, in words; the second is that of the whole run."""
    if file.suffix == ".safetensors":
        return _of_tensors(file, whole)
    one, other = file.read_bytes(), whole.read_bytes()
    if file.suffix == ".jsonl":
        return _of_lines(one.split(b"\n"), other.split(b"\n"))
    if file.suffix == ".json":
        return _of_json(one, other)
    place = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"byte {place} is the first that differs, of {len(one)} and {len(other)} without a break"


def _of_lines(lines: list[bytes], whole: list[bytes]) -> str:
    pairs = enumerate(zip_longest(lines, whole, fillvalue=b""), start=1)
    number, (line, other) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
    counts = "" if len(lines) == len(whole) else f" ({len(lines) - 1} lines, and {len(whole) - 1} without a break)"
    return f"line {number}{counts}: {_of_json(line, other)}"


def _of_json(text: bytes, whole: bytes) -> str:
    try:
        found = _first_difference(json.loads(text or b"null"), json.loads(whole or b"null"), "")
    except ValueError:
        found = None
    path, one, other = found or ("", text.decode("utf-8", "replace"), whole.decode("utf-8", "replace"))
    return f"{path}{': ' if path else ''}{_shown(one)}, and {_shown(other)} without a break"


def _first_difference(one: Any, other: Any, path: str) -> tuple[str, Any, Any] | None:
    """The first place in which two pieces of plain data differ, as a dotted path, with what is there."""
    for at, inner, inner_other in _pairs(one, other, path):
        found = _first_difference(inner, inner_other, at)
        if found is not None:
            return found
    if type(one) is type(other) and isinstance(one, dict | list):
        return None
    same = one is other or json.dumps(one, default=str) == json.dumps(other, default=str)  # a NaN is itself
    return None if same else (path, one, other)


def _pairs(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """What has the same place in two mappings or lists; _MISSING where one of them has nothing there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*other, *one]):
            yield f"{path}.{key}" if path else str(key), one.get(key, _MISSING), other.get(key, _MISSING)
    elif isinstance(one, list) and isinstance(other, list):
        for number, (inner, inner_other) in enumerate(zip_longest(one, other, fillvalue=_MISSING)):
            yield f"{path}[{number}]", inner, inner_other


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _of_tensors(file: Path, whole: Path) -> str:
    from safetensors import safe_open

    with safe_open(file, "pt") as ours, safe_open(whole, "pt") as theirs:
        names, others = set(ours.keys()), set(theirs.keys())
        if names != others:
            name = min(names ^ others)
            return f"tensor {name} is {'not in' if name in names else 'only in'} the one without a break"
        found = [(name, _of_tensor(ours.get_tensor(name), theirs.get_tensor(name))) for name in sorted(names)]
    differing = [(name, words) for name, words in found if words]
    if not differing:
        return "the tensors are the same, what is said of them is not"
    name, words = differing[0]
    return f"{len(differing)} of {len(found)} tensors differ, first {name}{words}"


def _of_tensor(one: Any, other: Any) -> str:
    """The first number in which two tensors differ, bit for bit; empty for none."""
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return f": {one.dtype} {list(one.shape)}, and {other.dtype} {list(other.shape)} without a break"
    bits, others = (tensor.reshape(-1).contiguous().view(torch.uint8) for tensor in (one, other))
    differing = (bits != others).nonzero()
    if not len(differing):
        return ""
    first = int(differing[0]) // one.element_size()
    index = [int(n) for n in torch.unravel_index(torch.tensor(first), one.shape)]
    values = (tensor.reshape(-1)[first].item() for tensor in (one, other))
    return " at {}: {!r}, and {!r} without a break".format(index, *values)
