"""The door through which plugins come: what they may register, and what is refused with which words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from copgkit.components import Component, Evaluator, PromptSource, RewardSource
from copgkit.errors import CopgkitError, PluginError
from copgkit.samplers import Sampler

NAME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"
"""What a component may be called: kebab-case."""

Hook = tuple[type[Component], tuple[str, ...]]
HOOKS: dict[str, Hook] = {
    "register_prompt_sources": (PromptSource, ("load",)),
    "register_samplers": (Sampler, ("draw",)),
    "register_reward_sources": (RewardSource, ("score", "score_groups")),
    "register_evaluators": (Evaluator, ("evaluate",)),
}
"""Each hook with what its components extend, and the methods of which one must be theirs."""


C = TypeVar("C", bound=Component)


@dataclass(frozen=True)
class Registered(Generic[C]):
    """A component class under its name, and who brought it. plugin: the entry point, or the one-file plugin."""

    cls: type[C]
    name: str
    kind: str
    distribution: str
    version: str
    plugin: str = ""

    @property
    def help(self) -> str:
        """The first line of the class's docstring; empty if it has none of its own."""
        lines = (self.cls.__doc__ or "").strip().splitlines()
        return lines[0] if lines else ""

    @property
    def owner(self) -> str:
        """The distribution and its version, as messages show them."""
        return f"{self.distribution} {self.version}".strip()

    @contextmanager
    def blamed_for(self, what: str) -> Iterator[None]:
        """Turns an exception of the component's own code into a PluginError that names its owner."""
        try:
            yield
        except CopgkitError:
            raise
        except (Exception, SystemExit) as fault:  # sys.exit() in a plugin must not look as if all were well
            words = f"{self.kind} '{self.name}' ({self.owner}): {what} raised {reason_of(fault)}"
            raise PluginError(f"{words}. This is for its author to mend; --debug shows where.") from fault


class Refused(Exception):
    """A plugin breaks its contract; becomes a Failure or a PluginError."""


@dataclass
class Collector:
    """What a plugin calls as `register(name, cls)`: checks both and keeps them."""

    hook: Hook
    owner: tuple[str, str, str]
    found: list[Registered[Any]]

    def __call__(self, name: str, cls: type[Component]) -> None:
        base, methods = self.hook
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise Refused(f"{name!r} is not a name for a {base.kind}: use kebab-case, for instance 'reward-model'")
        if any(item.name == name and item.kind == base.kind for item in self.found):
            raise Refused(f"it registers {base.kind} '{name}' twice")
        fault = _fault_of(cls, base, methods)
        if fault:
            raise Refused(f"{base.kind} '{name}': {fault}")
        self.found.append(Registered(cls, name, base.kind, *self.owner))


def _fault_of(cls: Any, base: type[Component], methods: tuple[str, ...]) -> str:
    """What is wrong with a component class; empty if nothing is."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return f"{cls!r} is not a subclass of {base.__name__}"
    if all(getattr(cls, method) is getattr(base, method) for method in methods):
        return f"{cls.__name__} does not define {' or '.join(f'{method}()' for method in methods)}"
    options: Any = cls.Options
    if not (isinstance(options, type) and issubclass(options, BaseModel)):
        return f"{cls.__name__}.Options is not a pydantic model; write class Options({base.__name__}.Options)"
    if options.model_config.get("extra") != "forbid":
        return f"{cls.__name__}.Options accepts unknown keys; write class Options({base.__name__}.Options)"
    return "" if options.__pydantic_complete__ or options.model_rebuild() else f"{cls.__name__}.Options is incomplete"


def reason_of(fault: BaseException) -> str:
    """An exception in one line, by its own words where those suffice."""
    words = " ".join(str(fault).split())
    if isinstance(fault, Refused | ImportError) and words:
        return words
    return f"{type(fault).__name__}: {words}" if words else type(fault).__name__
