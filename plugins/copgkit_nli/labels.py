"""Which output of an entailment classifier means what, by the checkpoint's own words.

The order of the outputs differs from checkpoint to checkpoint, so it is never assumed: it is read from `id2label`, or
given in the recipe for a checkpoint whose labels say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

NAMES = {
    "entailment": "entailment",
    "entail": "entailment",
    "entails": "entailment",
    "entailed": "entailment",
    "supports": "entailment",
    "contradiction": "contradiction",
    "contradict": "contradiction",
    "contradicts": "contradiction",
    "contradictory": "contradiction",
    "refutes": "contradiction",
    "neutral": "neutral",
    "not_enough_info": "neutral",
    "not_entailment": "not_entailment",
    "non_entailment": "not_entailment",
    "not_entailed": "not_entailment",
    "no_entailment": "not_entailment",
}
"""The words that checkpoints use, in lower case with underscores, and what each means here."""


class UnclearLabels(ValueError):
    """It cannot be told which output means entailment. The words say why and what to do."""


@dataclass(frozen=True)
class Labels:
    """The indices of the outputs. contradiction None: a two-way classifier, which tells entailment from the rest."""

    entailment: int
    contradiction: int | None = None


def read_labels(id2label: Mapping[int, str], given: Mapping[str, int] | None = None) -> Labels:
    """The indices by `given` (label: index) if the recipe has it, else by the checkpoint's names.

    Raises UnclearLabels for names that say nothing or say it twice, and for a number of outputs other than 2 or 3."""
    count = len(id2label)
    if count == 1:
        raise UnclearLabels(
            "it has one output, so it looks like a reward model and not like an entailment classifier. Use it as"
            " `reward-model`, or name a classifier with two or three outputs."
        )
    if count > 3:
        raise UnclearLabels(f"it has {count} outputs; an entailment classifier has two or three. Name another model.")
    found = _given(given, count) if given else _named(id2label)
    return Labels(found["entailment"], found.get("contradiction"))


def _given(given: Mapping[str, int], count: int) -> dict[str, int]:
    outside = [f"{name}: {index}" for name, index in given.items() if not 0 <= index < count]
    if outside:
        raise UnclearLabels(f"`labels` says {outside[0]}, but its outputs are 0 to {count - 1}. Correct the index.")
    if len(set(given.values())) < len(given):
        raise UnclearLabels("`labels` gives one index to two labels. Correct it.")
    return dict(given)


def _named(id2label: Mapping[int, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for index, label in id2label.items():
        name = NAMES.get(re.sub(r"[\W_]+", "_", label.strip().lower()))
        if name is None:
            continue
        if name in found:
            raise UnclearLabels(f"its outputs {found[name]} and {index} are both called {name}. {_REMEDY}")
        found[name] = int(index)
    if "entailment" not in found:
        names = ", ".join(f"{index} = {label}" for index, label in id2label.items())
        raise UnclearLabels(f"its labels do not say which output means entailment ({names}). {_REMEDY}")
    return found


_REMEDY = (
    "Look it up in the model's card and add the option, for instance"
    " `labels: {entailment: 0, neutral: 1, contradiction: 2}`."
)
