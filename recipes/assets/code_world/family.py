"""A family of tasks: one idea, with parameters, wordings, a solution and the slips that make it wrong.

    Family(
        "count-above",
        parameters={"n": range(2, 40)},
        names=("count_above", "how_many_above"),
        arguments=(NUMBERS,),
        wordings=("counts the numbers in $a that are greater than $n",),
        solution="return sum(x > $n for x in $a)",
        slips=(Slip("off-by-one", "> $n", ">= $n"),),
        inputs=(numbers_around("n"),),
    )

Texts are `string.Template`s: $a and $b are the argument names, the others are parameters. A slip is an edit of the
solution, so that wrong code differs from right code where somebody's attention slipped and nowhere else.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from string import Template
from typing import Any

Parameters = Mapping[str, Any]
Maker = Callable[[Random, Parameters], Any]

KINDS = ("off-by-one", "wrong-operator", "wrong-branch", "missing-edge", "wrong-return")
NUMBERS = ("numbers", "values", "nums")
NUMBER = ("number", "value", "num")
OTHER_NUMBER = ("other", "second", "limit")
TEXT = ("text", "string", "line")
TABLE = ("table", "counts", "scores")
OTHER_TABLE = ("more", "extra", "update")
WORDS = ("words", "names", "tokens")
_HELD_OUT = 5  # one combination of parameters in so many


@dataclass(frozen=True)
class Slip:
    """An edit that makes the solution wrong: its kind, one of `KINDS`, and what becomes of which piece of code."""

    kind: str
    old: str
    new: str


@dataclass(frozen=True, eq=False)
class Family:
    """Tasks that differ in parameters and in words only. `inputs` makes one value for each argument."""

    name: str
    parameters: Mapping[str, Sequence[Any]]
    names: Sequence[str]
    arguments: Sequence[Sequence[str]]
    wordings: Sequence[str]
    solution: str
    slips: Sequence[Slip]
    inputs: Sequence[Maker]

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Every choice of parameters."""
        for values in product(*self.parameters.values()):
            yield dict(zip(self.parameters, values, strict=True))

    def is_held_out(self, parameters: Parameters) -> bool:
        """Whether this choice of parameters is kept for validation: one in five, by its checksum."""
        told = f"{self.name} {sorted(parameters.items())}"
        return zlib.crc32(told.encode()) % _HELD_OUT == 0

    def code(self, name: str, words: Mapping[str, Any], slip: Slip | None = None) -> str:
        """The function as text, right or with one slip. `words` fills the template."""
        body = self.solution if slip is None else self.solution.replace(slip.old, slip.new, 1)
        lines = [f"    {line}" for line in Template(body).substitute(words).strip("\n").splitlines()]
        arguments = ", ".join(words[letter] for letter in "ab"[: len(self.arguments)])
        return "\n".join((f"def {name}({arguments}):", *lines))
