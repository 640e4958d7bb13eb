"""The tests of a prompt, read from its facts: what must run, and in which of the three verdict modes.

    entry_point, test                        a text that defines check(candidate), as HumanEval has it   -> Checks
    test_list, test_setup_code, test_imports asserts, as MBPP has them                                   -> Checks
    entry_point, inputs, outputs             arguments and results of calls, one list of arguments each  -> Calls
    inputs, outputs                          texts on standard input and output                          -> Programs

Every fault that shows without running anything is a DataError here, naming the row: no tests, tests that do not parse,
an entry point that is missing, names that nothing defines, tests that ask nothing of the candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from copgkit import DataError, Prompt
from copgkit_unit_tests import test_text
from copgkit_unit_tests.extraction import header_of
from copgkit_unit_tests.test_text import TestFault


@dataclass(frozen=True)
class Calls:
    """Input/output pairs as calls (mode a). cases: (arguments, expected result)."""

    entry_point: str
    cases: tuple[tuple[Sequence[Any], Any], ...]

    @property
    def wanted(self) -> str:
        return self.entry_point


@dataclass(frozen=True)
class Checks:
    """Test texts that call the candidate through stand-ins (mode b).

    names: what the candidate must define, each of which gets a stand-in. source: what runs against them, its first
    failure being its end.
    """

    names: tuple[str, ...]
    source: str
    wanted: str

    @property
    def counted(self) -> str:
        """The same with every assert counted by itself."""
        return self._counted[0]

    @property
    def asserts(self) -> int:
        """How many asserts can be counted."""
        return self._counted[1]

    @cached_property
    def _counted(self) -> tuple[str, int]:
        return test_text.with_counted_asserts(self.source)


@dataclass(frozen=True)
class Programs:
    """Input/output pairs as whole programs (mode c). cases: (standard input, expected standard output)."""

    cases: tuple[tuple[str, str], ...]
    wanted: str = ""


Problem = Calls | Checks | Programs


def problem_of(prompt: Prompt, challenge_tests: bool = False) -> Problem:
    """The tests of a prompt. Raises DataError naming the row and the remedy."""
    facts = prompt.facts
    try:
        if facts.get("test") is not None:
            return _humaneval(facts, prompt.text)
        if facts.get("test_list") is not None:
            return _mbpp(facts, challenge_tests)
        if facts.get("inputs") is not None or facts.get("outputs") is not None:
            return _pairs(facts)
        raise TestFault(f"the prompt has no tests; its facts are: {', '.join(map(str, facts)) or 'none'}")
    except TestFault as fault:
        raise DataError(f"{prompt.place}: {fault}. {_REMEDY}") from fault


_REMEDY = (
    "'unit-tests' reads test and entry_point, test_list, or inputs and outputs from the facts of the row"
    " (prompts.options.facts_fields)."
)


def _humaneval(facts: Mapping[str, Any], prompt: str) -> Checks:
    entry_point, test = _name(facts), _text(facts, "test")
    tree = test_text.parsed(test, "test")
    check = test_text.functions(tree).get("check")
    if check is None or not (check.args.args or check.args.posonlyargs):
        raise TestFault("test defines no function check(candidate)")
    argument = (check.args.posonlyargs + check.args.args)[0].arg
    if not (test_text.reads(check, argument) or test_text.reads(tree, entry_point)):
        raise TestFault(f"check({argument}) never calls its {argument}")
    header = _needed_header(tree, header_of(prompt, entry_point), entry_point)
    source = f"{header}\n{test}\n\ncheck({entry_point})\n"
    return Checks((entry_point,), source, entry_point)


def _needed_header(tree: Any, header: str | None, entry_point: str) -> str:
    """What of the prompt the test needs: HumanEval's tests call helpers that the prompt defines."""
    missing = [name for name in test_text.wanted_names([tree]) if name != entry_point]
    if not missing:
        return ""
    helpers = test_text.parsed(header or "", "the prompt, whose helpers the test calls,")
    missing = [name for name in missing if name not in test_text.bound_names(helpers)]
    if missing:
        raise TestFault(f"test uses '{missing[0]}', which neither the test nor the prompt defines")
    return header or ""


def _mbpp(facts: Mapping[str, Any], challenge_tests: bool) -> Checks:
    tests = _texts(facts, "test_list") + (_texts(facts, "challenge_test_list") if challenge_tests else ())
    if not tests:
        raise TestFault("test_list is empty")
    setup = "\n".join((*_texts(facts, "test_imports"), str(facts.get("test_setup_code") or "")))
    trees = [test_text.parsed(setup, "test_setup_code")]
    trees += [test_text.parsed(test, f"test_list[{number}]") for number, test in enumerate(tests)]
    names = test_text.wanted_names(trees)
    if not names:
        raise TestFault("test_list calls nothing that the candidate would define")
    unservable = test_text.used_as_class(trees, names)
    if unservable:
        raise TestFault(
            f"the tests use '{unservable}' of the candidate as a class; they may call it and compare plain data only"
        )
    source = "\n".join((setup, *tests, ""))
    given = facts.get("entry_point")
    wanted = given if given in names else _called_first(names, trees[1:])
    return Checks(tuple(names), source, wanted)


def _called_first(names: Sequence[str], trees: Sequence[Any]) -> str:
    """The name that says which block of a completion is meant: the first that the tests themselves use."""
    return next((name for name in test_text.wanted_names(trees) if name in names), names[0])


def _pairs(facts: Mapping[str, Any]) -> Problem:
    inputs, outputs = (_items(facts, name) for name in ("inputs", "outputs"))
    if not inputs or len(inputs) != len(outputs):
        raise TestFault(f"there are {len(inputs)} inputs and {len(outputs)} outputs; one output each, at least one")
    if facts.get("entry_point") is not None:
        return Calls(_name(facts), tuple(zip(map(_arguments, inputs), outputs, strict=True)))
    for number, pair in enumerate(zip(inputs, outputs, strict=True)):
        if not all(isinstance(text, str) for text in pair):
            raise TestFault(
                f"inputs[{number}] or outputs[{number}] is no text, and without an entry_point they are what a program"
                " reads and prints"
            )
    return Programs(tuple(zip(inputs, outputs, strict=True)))


def _arguments(given: Any) -> Sequence[Any]:
    if not isinstance(given, list | tuple):
        raise TestFault(f"an input is {given!r:.60}; with an entry_point each input is a list of arguments")
    return given


def _name(facts: Mapping[str, Any]) -> str:
    given = facts.get("entry_point")
    if not isinstance(given, str) or not given.isidentifier():
        raise TestFault(f"entry_point is {given!r:.60}, not the name of a function")
    return given


def _text(facts: Mapping[str, Any], field: str) -> str:
    if not isinstance(facts[field], str):
        raise TestFault(f"{field} is a {type(facts[field]).__name__}, not a text")
    return str(facts[field])


def _texts(facts: Mapping[str, Any], field: str) -> tuple[str, ...]:
    items = _items(facts, field)
    if not all(isinstance(item, str) for item in items):
        raise TestFault(f"{field} holds something that is no text")
    return tuple(items)


def _items(facts: Mapping[str, Any], field: str) -> Sequence[Any]:
    given = facts.get(field)
    if given is None:
        return ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TestFault(f"{field} is a {type(given).__name__}, not a list")
    return given
