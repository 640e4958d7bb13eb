"""Tasks of the code world: one choice of parameters and words of a family, its asserts, and code right and wrong.

The asserts come from the solution. A task's `tests` catch each of its slips, and so do its `hidden_tests`, which call
the function with other inputs and which no reward sees: a policy that learned to please the tests and not the task
would show there.

Held-out tasks have parameters that no training task of their family has; wordings and names are drawn from one pool.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from string import Template
from typing import Any

from code_world import conditions, dicts, lists, numbers, strings
from code_world.family import Family

FAMILIES = (
    *numbers.FAMILIES,
    *strings.FAMILIES,
    *lists.FAMILIES,
    *dicts.FAMILIES,
    *conditions.FAMILIES,
)
OPENINGS = (
    "Write a function $call that $what.",
    "Write a Python function $call which $what.",
    "Define $call. It $what.",
)
_POOL = 40  # inputs from which the asserts are chosen
_TESTS, _HIDDEN_TESTS = 3, 5  # at least
_DRAWS = 50  # of a whole pool, until it tells each slip from the solution


@dataclass(frozen=True)
class Task:
    """A prompt in MBPP's format with its asserts, and the code that the world has for it."""

    family: str
    parameters: dict[str, Any]
    entry_point: str
    prompt: str
    solution: str
    wrong: dict[str, str]  # code by "kind: old -> new"
    tests: tuple[str, ...]
    hidden_tests: tuple[str, ...]

    @property
    def row(self) -> dict[str, Any]:
        """The task as a line of the data: prompt, facts, answer."""
        facts = {
            "entry_point": self.entry_point,
            "test_list": list(self.tests),
            "test_setup_code": "",
            "hidden_test_list": list(self.hidden_tests),
            "family": self.family,
        }
        return {"prompt": self.prompt, "facts": facts, "answer": self.solution}


def make_task(family: Family, parameters: dict[str, Any], random: Random, *, asserts: bool = True) -> Task:
    """A task of a family with these parameters; words and asserts are drawn. Without `asserts` it has none."""
    name = random.choice(family.names)
    words = {
        **parameters,
        **{letter: random.choice(pool) for letter, pool in zip("ab", family.arguments, strict=False)},
    }
    call = f"{name}({', '.join(words[letter] for letter in 'ab'[: len(family.arguments)])})"
    what = Template(random.choice(family.wordings)).substitute(words)
    solution = family.code(name, words)
    wrong = {f"{slip.kind}: {slip.old} -> {slip.new}": family.code(name, words, slip) for slip in family.slips}
    tests, hidden_tests = (), ()
    if asserts:
        tests, hidden_tests = _write_asserts(family, parameters, name, solution, tuple(wrong.values()), random)
    return Task(
        family=family.name,
        parameters=parameters,
        entry_point=name,
        prompt=Template(random.choice(OPENINGS)).substitute(call=call, what=what) + "\n",
        solution=solution,
        wrong=wrong,
        tests=tests,
        hidden_tests=hidden_tests,
    )


def make_tasks(
    count: int, random: Random, *, held_out: bool, taken: set[str] | None = None, asserts: bool = True
) -> list[Task]:
    """`count` tasks, about as many of each family, in random order.

    held_out: whether the parameters are those kept for validation. taken: if given, prompts differ from each other and
    from these, and it grows by them.
    """
    tasks: list[Task] = []
    turn = 0
    while len(tasks) < count:
        family = FAMILIES[turn % len(FAMILIES)]
        turn += 1
        task = make_task(family, random.choice(_combinations(family, held_out)), random, asserts=asserts)
        if taken is not None:
            if task.prompt in taken:
                continue
            taken.add(task.prompt)
        tasks.append(task)
    random.shuffle(tasks)
    return tasks


@cache
def _combinations(family: Family, held_out: bool) -> Sequence[dict[str, Any]]:
    return [choice for choice in family.combinations() if family.is_held_out(choice) == held_out]


# ---- asserts


def _write_asserts(
    family: Family, parameters: dict[str, Any], name: str, solution: str, wrong: Sequence[str], random: Random
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two lists of asserts, each of which the solution passes and no wrong code does.

    The second has other inputs than the first, but for an edge that only one input meets, which stands in both.
    """
    for _ in range(_DRAWS):
        pool = _distinct([maker(random, parameters) for maker in family.inputs] for _ in range(_POOL))
        right = [run(solution, name, inputs) for inputs in pool]
        catches = [{i for i, inputs in enumerate(pool) if run(code, name, inputs) != right[i]} for code in wrong]
        if all(catches):
            break
    else:
        raise ValueError(
            f"family {family.name!r}, {parameters}: no input that was drawn tells a slip from the solution"
        )
    order = random.sample(range(len(pool)), len(pool))
    tests = _cover(order, catches, _TESTS)
    hidden = _cover([*(index for index in order if index not in tests), *tests], catches, _HIDDEN_TESTS)
    written = [f"assert {name}({', '.join(map(repr, pool[i]))}) == {right[i][1]!r}" for i in range(len(pool))]
    return tuple(written[i] for i in tests), tuple(written[i] for i in hidden)


def _cover(order: Sequence[int], catches: Sequence[set[int]], least: int) -> list[int]:
    """The first input that catches each slip, and the first others up to `least` in all."""
    chosen: list[int] = []
    for caught in catches:
        if not caught & set(chosen):
            chosen.append(next(index for index in order if index in caught))
    chosen += [index for index in order if index not in chosen][: max(0, least - len(chosen))]
    return sorted(chosen, key=order.index)


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


def run(code: str, name: str, inputs: Sequence[Any]) -> tuple[str, Any]:
    """What the world's own code gives for these inputs: ("value", ...) or ("raised", name of the exception).

    It runs in this process: it is for code that was written here, never for code that a model wrote.
    """
    try:
        return "value", _function(code, name)(*copy.deepcopy(inputs))
    except Exception as fault:  # wrong code may raise anything, and that is what it gives
        return "raised", type(fault).__name__


@cache
def _function(code: str, name: str) -> Any:
    names: dict[str, Any] = {}
    exec(code, names)
    return names[name]
