"""The rows of a sweep: every combination of the values, and which keys may have more than one.

    grid = read_grid(["objective.beta=0.01,0.03", "objective.use=copg,ipo", "train.epochs=2"])
    [row.label for row in grid.rows]       # "beta=0.01,use=copg", "beta=0.01,use=ipo", ...

All rows are trained on the same scored groups from the same weights, and measured in the same way. So only what comes
after the groups may vary. No torch.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from copgkit.errors import RecipeError

MAY_VARY = (
    "objective.*, reference.*, train.* (but for what the model is loaded with), scoring.unfinished_penalty, and weight,"
    " clip, scale and shift of a reward"
)
_VARIES = re.compile(
    r"objective\..+|reference\..+|train\..+|scoring\.unfinished_penalty|rewards(\[\d+\]|\.\d+)\.(weight|clip|scale|shift).*"
)
_WHY_NOT = (
    (r"seed", "another seed draws other completions, and evaluates on others"),
    (r"policy\b.*", "each row would need a model of its own, other completions and another reference pass"),
    (r"prompts\b.*|plugins\b.*", "rows would be trained on other prompts"),
    (r"sampler\b.*", "rows would be trained on other groups"),
    (r"evaluate\b.*", "rows would be measured in different ways, and could not be compared"),
    (r"rewards\b.*", "another source gives other scores"),
    (r"scoring\b.*", "rows would be trained on other groups"),
    (
        r"train\.(precision|tokens_per_forward|gradient_checkpointing|compile|distributed)\b.*",
        "the model is loaded with it, and the reference's log-probabilities depend on it",
    ),
    (r"train\.trackers\b.*", "it changes nothing that a row could be compared by"),
)
_LONGEST_NAME = 120


@dataclass(frozen=True)
class GridRow:
    """One combination. label: as readers see it; changes: its part of --set; folder: a name that any system takes."""

    label: str
    changes: tuple[str, ...]

    @property
    def folder(self) -> str:
        safe = re.sub(r"[^\w=.,+-]", "_", self.label)
        if safe == self.label and len(safe) <= _LONGEST_NAME:
            return safe
        digest = hashlib.sha256(self.label.encode()).hexdigest()[:8]
        return f"{safe[:_LONGEST_NAME]}-{digest}"


@dataclass(frozen=True)
class Grid:
    """axes: keys with several values, in the order given. fixed: changes that all rows have."""

    axes: tuple[tuple[str, tuple[str, ...]], ...]
    fixed: tuple[str, ...]

    @property
    def rows(self) -> list[GridRow]:
        """Every combination; the last key varies fastest."""
        names = _short_names([key for key, _ in self.axes])
        return [
            GridRow(
                ",".join(f"{name}={value}" for name, value in zip(names, values, strict=True)),
                tuple(f"{key}={value}" for (key, _), value in zip(self.axes, values, strict=True)),
            )
            for values in itertools.product(*(values for _, values in self.axes))
        ]


def read_grid(changes: Sequence[str]) -> Grid:
    """The grid of `--set KEY=VALUE[,VALUE...]`; commas within brackets or quotes part no values.

    Raises RecipeError for a key that may not vary, with the reason, for a value or key that comes twice, and where
    nothing varies.
    """
    axes: dict[str, tuple[str, ...]] = {}
    fixed = []
    for change in changes:
        key, _, text = change.partition("=")
        values = _values(text)
        if len(values) == 1:
            fixed.append(change)
            continue
        _require_may_vary(key.strip(), change)
        if key.strip() in axes:
            raise RecipeError(f"--set {key}: it is given twice. Write all its values in one, parted by commas.")
        if len(set(values)) < len(values):
            raise RecipeError(f"--set {change}: a value comes twice. Leave one of them out.")
        axes[key.strip()] = values
    if not axes:
        raise RecipeError(
            "copgkit sweep: nothing varies. Give a key several values: --set objective.beta=0.03,0.1,0.3."
        )
    return Grid(tuple(axes.items()), tuple(fixed))


def _require_may_vary(key: str, change: str) -> None:
    for pattern, why in _WHY_NOT:
        if re.fullmatch(pattern, key) and not (_VARIES.fullmatch(key) and not pattern.startswith("train")):
            raise RecipeError(
                f"--set {change}: '{key}' cannot vary within a sweep: {why}. May vary: {MAY_VARY}. Use a sweep for each"
                " value, or quotes around a value that holds a comma."
            )
    if not _VARIES.fullmatch(key):
        raise RecipeError(f"--set {change}: '{key}' cannot vary within a sweep. May vary: {MAY_VARY}.")


def _values(text: str) -> tuple[str, ...]:
    """The text parted at its commas, those within brackets and quotes left out."""
    values, depth, quote, current = [], 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and not depth:
            values.append(current.strip())
            current = ""
            continue
        current += letter
    return (*values, current.strip())


def _short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each key, or the whole of those whose last parts are alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]
