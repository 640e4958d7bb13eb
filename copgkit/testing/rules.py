"""What every component must keep, whatever its kind; and how the rules of a contract are run without pytest.

A rule is a method whose name starts with `test_`: it returns if the rule holds and raises `Broken` if it does not. The
rules of one kind extend `Contract` in a file of their own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from copgkit.components import Component, Context
from copgkit.errors import CopgkitError
from copgkit.plugin_door import HOOKS
from copgkit.registry import Registry
from copgkit.samplers import SamplerUse
from copgkit.testing.elsewhere import file_of, imported_with

HEAVY = ("torch", "transformers", "datasets", "evaluate", "accelerate", "tensorflow", "jax", "vllm")
"""Libraries that may be imported inside methods only, so that `copgkit check` answers at once."""

DECISIVE = ("test_it_is_made_from_its_options", "test_it_answers_within_its_time")
"""Rules without which no other can be tried."""


class Broken(AssertionError):
    """A rule does not hold. The message says what was found, and how to mend it."""


@dataclass(frozen=True)
class Finding:
    """A rule that a component breaks, by its name in words, and what was found."""

    rule: str
    fault: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.fault}"


class Contract:
    """What a component of any kind must keep.

    component: the class under test. options: as a recipe would give them. name: how a recipe calls it. folder: where
    relative paths start.
    seconds: the time in which it must have done its work on the data of the contract, its own preparation included.
    """

    component: type[Component]
    options: Mapping[str, Any] = {}
    name: str = ""
    folder: Path | str = "."
    seconds: float = 60.0
    _too_slow = ""

    def context(self) -> Context:
        """What the component is told of the run."""
        return Context(name=self.name or self.component.__name__.lower(), folder=Path(self.folder))

    def work(self, component: Any) -> Any:
        """Lets the component do once what it is for."""
        raise NotImplementedError

    @contextmanager
    def made(self, options: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """The component at work, closed at the end."""
        component = self._make(self.options if options is None else options)
        try:
            yield component
        finally:
            component.close()

    def _make(self, options: Mapping[str, Any]) -> Any:
        if self._too_slow:
            raise Broken(self._too_slow)
        return self.component(as_recipes_give(self.component, options), self.context())

    def test_it_is_made_from_its_options(self) -> None:
        try:
            self._make(self.options).close()
        except ValidationError as fault:
            missing = [".".join(map(str, one["loc"])) for one in fault.errors() if one["type"] == "missing"]
            wanted = (
                f"it needs the options {', '.join(missing)}" if missing else f"the options do not validate: {fault}"
            )
            raise Broken(f"{wanted}. Give the contract options that a recipe could give.") from fault

    def test_it_answers_within_its_time(self) -> None:
        faults: list[BaseException] = []

        def go() -> None:
            try:
                component = self._make(self.options)
                self.work(component)
                component.close()
            except BaseException as fault:  # handed to the thread that waits
                faults.append(fault)

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        thread.join(self.seconds)
        if thread.is_alive():
            words = f"it has given no answer after {self.seconds:g} s. Bound its work, or raise `seconds`."
            type(self)._too_slow = words  # the other rules would wait as long
            raise Broken(words)
        if faults:
            raise faults[0]

    def test_it_can_be_closed_twice(self) -> None:
        component = self._make(self.options)
        self.work(component)
        component.close()
        self.unless_it_raises("the second close()", component.close)

    def test_it_says_in_one_line_what_it_is(self) -> None:
        words = (self.component.__doc__ or "").strip()
        inherited = [base.__doc__ for base in self.component.__mro__[1:]]
        if not words or self.component.__doc__ in inherited:
            raise Broken("the class has no docstring of its own. Its first line is what `copgkit plugins` shows.")

    def test_options_refuse_a_key_they_do_not_know(self) -> None:
        try:
            as_recipes_give(self.component, {**self.options, "no_such_option": 1})
        except ValidationError:
            return
        kinds = [kind for kind, _ in HOOKS.values()]
        kind = next(base.__name__ for base in self.component.__mro__ if base in kinds)
        raise Broken(f"an unknown key is accepted, so that a typing mistake goes unseen. Extend {kind}.Options.")

    def test_every_option_is_described(self) -> None:
        fields = self.component.Options.model_fields
        bare = [name for name, field in fields.items() if not (field.description or "").strip()]
        if bare:
            raise Broken(f"no description of {', '.join(bare)}. Give Field(description=...); `describe` prints it.")

    def test_options_have_a_json_schema(self) -> None:
        try:
            json.dumps(self.component.Options.model_json_schema(by_alias=True))
        except Exception as fault:
            raise Broken(f"{_told(fault)}. Use types that a YAML file can hold.") from fault

    def test_defaults_are_valid_options(self) -> None:
        defaults = {
            field.alias or name: field.get_default(call_default_factory=True, validated_data={})
            for name, field in self.component.Options.model_fields.items()
            if not field.is_required()
        }
        for name, value in defaults.items():
            try:
                as_recipes_give(self.component, {**self.options, name: value})
            except ValidationError as fault:
                blamed = {str(one["loc"][0]) for one in fault.errors() if one["loc"]}
                if name in blamed:
                    raise Broken(f"the default of {name}, {value!r}, would be refused if a recipe gave it.") from fault

    def test_options_survive_being_written_to_a_recipe(self) -> None:
        options = as_recipes_give(self.component, self.options)
        try:
            again = as_recipes_give(self.component, options.model_dump(mode="json", by_alias=True))
        except ValidationError as fault:
            raise Broken(
                f"what resolved.yaml holds is refused: {fault}. Use types that a YAML file can hold."
            ) from fault
        if again != options:
            raise Broken(f"resolved.yaml would give other options: {again} for {options}.")

    def test_its_module_imports_nothing_heavy(self) -> None:
        imported = imported_with(self.component.__module__, file_of(self.component))
        heavy = [name for name in HEAVY if name in imported]
        if heavy:
            raise Broken(f"importing it imports {', '.join(heavy)}. Import them inside the methods that need them.")

    def unless_it_raises(self, what: str, call: Callable[[], Any]) -> Any:
        """What the call gives; an exception breaks the rule."""
        try:
            return call()
        except Exception as fault:
            raise Broken(f"{what} raised {_told(fault)}.") from fault


def as_recipes_give(component: type[Component], options: Mapping[str, Any]) -> BaseModel:
    """The options as a recipe would give them: plain data, taken strictly. Raises pydantic's ValidationError."""
    text = json.dumps(dict(options), default=to_jsonable_python)
    checked = component.Options.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    if any(SamplerUse.all_in(checked)):
        Registry.load().tie(checked)
    return checked


def rules_of(contract: type[Contract]) -> list[str]:
    """The names of a contract's test methods, those of every component first; one set to None is no rule."""
    names: dict[str, None] = {}
    for base in reversed(contract.__mro__):
        names |= dict.fromkeys(name for name in vars(base) if name.startswith("test_"))
    return [name for name in names if callable(getattr(contract, name))]


def check(contract: type[Contract], rules: Iterable[str] | None = None) -> list[Finding]:
    """Runs the rules of a contract (all of them by default) and gives those that do not hold. Without the decisive
    ones it tries no other."""
    findings: list[Finding] = []
    for name in sorted(rules_of(contract) if rules is None else rules, key=lambda name: name not in DECISIVE):
        fault = _fault_of(contract, name)
        if fault:
            findings.append(Finding(in_words(name), fault))
            if name in DECISIVE:
                break
    return findings


def in_words(name: str) -> str:
    """The name of a test method as a sentence."""
    return name.removeprefix("test_").replace("_", " ")


def _fault_of(contract: type[Contract], name: str) -> str:
    try:
        getattr(contract(), name)()
    except AssertionError as fault:  # Broken, and the plain asserts of an author's own rules
        return str(fault) or "it does not hold."
    except CopgkitError as fault:
        return f"it stops with an error: {fault}"
    except Exception as fault:
        return f"it raised {_told(fault)}."
    return ""


def _told(fault: BaseException) -> str:
    words = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {words}" if words else type(fault).__name__
