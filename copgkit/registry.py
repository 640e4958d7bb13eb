"""From installed plugins to component classes: entry points of group `copgkit`, one-file plugins, names.

Plugins are loaded and called one at a time, so that every name knows its distribution and version, and so that one
that is broken is recorded as a `Failure` and does no harm until somebody needs a name that nobody offers. Everything
is checked by `plugin_door`; whoever gets a class from a registry need not look at it again. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy
from pydantic import BaseModel

from copgkit import hookspecs
from copgkit.errors import PluginError
from copgkit.plugin_door import HOOKS, Collector, Refused, Registered, reason_of
from copgkit.plugin_files import load_plugin_file
from copgkit.samplers import Sampler, SamplerUse

GROUP = "copgkit"
ONLY = "COPGKIT_PLUGINS"

KINDS = tuple(base.kind for base, _ in HOOKS.values())


@dataclass(frozen=True)
class Failure:
    """A plugin that could not be loaded. name: its entry point."""

    name: str
    distribution: str
    version: str
    reason: str

    def __str__(self) -> str:
        entry = f"{self.name} of " if self.name != self.distribution else ""
        return f"{entry}{self.distribution} {self.version}".rstrip() + f" ({self.reason})"


@dataclass
class Registry:
    """What can be used, by kind and name, and which plugins could not be loaded."""

    failures: list[Failure] = field(default_factory=list)
    _components: dict[tuple[str, str], Registered[Any]] = field(default_factory=dict)
    _manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(hookspecs.PROJECT))

    def __post_init__(self) -> None:
        self._manager.add_hookspecs(hookspecs)

    @classmethod
    def load(cls, files: Iterable[Path] = ()) -> Registry:
        """Every installed plugin (those named in COPGKIT_PLUGINS, if set), then one-file plugins.

        Raises PluginError for a name taken twice and for a file that cannot be loaded; a broken installed plugin is a
        Failure.
        """
        registry = cls()
        for point in _wanted(sorted(entry_points(group=GROUP), key=lambda point: point.name)):
            registry._add_entry_point(point)
        for file in files:
            registry.add_file(file)
        return registry

    def add_file(self, file: Path, shown: str = "") -> None:
        """Adds a one-file plugin; messages call it `shown`. Raises PluginError naming file and line if it is broken."""
        shown = shown or str(file)
        module, version = load_plugin_file(file, shown)
        try:
            found = self._collect(module, shown, shown, version)
        except Refused as fault:
            raise PluginError(f"{shown}: {fault}.") from fault
        self._take(found)

    def get(self, kind: str, name: str) -> Registered[Any]:
        """The component of this kind and name. Raises PluginError with the nearest name, the known ones and the
        plugins that could not be loaded."""
        found = self.lookup(kind, name)
        if found is None:
            raise PluginError(f"{self.unknown(kind, name)}  {self.failures_note()}".rstrip())
        return found

    def lookup(self, kind: str, name: str) -> Registered[Any] | None:
        """The component of this kind and name; None if there is none."""
        return self._components.get((kind, name))

    def find(self, name: str) -> list[Registered[Any]]:
        """The components of any kind with this name; `kind/name` (the kind in kebab-case) asks for one kind."""
        kind, _, plain = name.rpartition("/")
        return [item for item in self if item.name == plain and kind in ("", item.kind, item.kind.replace(" ", "-"))]

    def tie(self, options: BaseModel) -> None:
        """Tells the samplers in checked options what their names mean, at any depth; a recipe's are told when it is
        read. Raises PluginError for an unknown name, pydantic's ValidationError for options that it refuses."""
        for _, use in SamplerUse.all_in(options):
            cls: type[Sampler] = self.get("sampler", use.use).cls
            checked = cls.Options.model_validate(use.options)
            self.tie(checked)
            use.tie(cls, checked)

    def __iter__(self) -> Iterator[Registered[Any]]:
        """Every component, by kind and then by name."""
        return iter(sorted(self._components.values(), key=lambda item: (KINDS.index(item.kind), item.name)))

    def names(self, kind: str) -> list[str]:
        """The known names of one kind."""
        return [item.name for item in self if item.kind == kind]

    def unknown_anywhere(self, name: str, besides: Iterable[str] = ()) -> str:
        """What to say of a name that no kind of component has. besides: what else can be asked for."""
        known = sorted({*(item.name for item in self), *besides})
        near = get_close_matches(name.rpartition("/")[2].replace("_", "-").lower(), known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        notes = [f"Known: {', '.join(known) or 'none'}.", self.failures_note()]
        return f"nothing is called '{name}'.{hint}\n  {'  '.join(notes)}".rstrip()

    def failures_note(self) -> str:
        """One sentence about the plugins that could not be loaded; empty if there are none."""
        if not self.failures:
            return ""
        count = len(self.failures)
        noun = "plugin" if count == 1 else "plugins"
        return f"{count} {noun} could not be loaded: {'; '.join(map(str, self.failures))}."

    def unknown(self, kind: str, name: str) -> str:
        """What to say of a name that nobody registers: the nearest name, and the known ones."""
        known = self.names(kind)
        near = get_close_matches(name.replace("_", "-").lower(), known, n=1)
        elsewhere = [item.kind for item in self.find(name)]
        hint = ""
        if near:
            hint = f" Did you mean '{near[0]}' ({self.get(kind, near[0]).owner})?"
        elif elsewhere:
            hint = f" There is a {elsewhere[0]} of that name."
        return f"no {kind} is called '{name}'.{hint}\n  Known: {', '.join(known) or 'none'}."

    def _add_entry_point(self, point: EntryPoint) -> None:
        distribution, version = _owner(point)
        try:
            found = self._collect(point.load(), point.name, distribution, version)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as fault:  # a plugin that calls sys.exit() must not end the program
            self.failures.append(Failure(point.name, distribution, version, reason_of(fault)))
        else:
            self._take(found)

    def _collect(self, plugin: object, name: str, distribution: str, version: str) -> list[Registered[Any]]:
        """Calls the hooks of one plugin and gives what it registers. Leaves no trace of a plugin that fails."""
        self._register(plugin, f"{distribution}:{name}")
        found: list[Registered[Any]] = []
        try:
            for hook_name, hook in HOOKS.items():
                self._call(plugin, hook_name, Collector(hook, (distribution, version, name), found))
        except BaseException:
            self._manager.unregister(plugin)
            raise
        return found

    def _take(self, found: list[Registered[Any]]) -> None:
        for item in found:
            other = self._components.get((item.kind, item.name))
            if other is not None:
                raise PluginError(
                    f"{item.kind} '{item.name}': both {other.owner} and {item.owner} register this name. Uninstall one,"
                    f" or set {ONLY} to the plugins you want."
                )
            self._components[item.kind, item.name] = item

    def _register(self, plugin: object, plugin_name: str) -> None:
        try:
            self._manager.register(plugin, plugin_name)
        except (pluggy.PluginValidationError, ValueError) as fault:
            raise Refused(" ".join(str(fault).split())) from fault
        hooks = self._manager.get_hookcallers(plugin) or []
        unknown = [hook.name for hook in hooks if not hook.has_spec()]
        if unknown or not hooks:
            self._manager.unregister(plugin)
            if not unknown:
                raise Refused("it has no function with @hookimpl")
            raise Refused(f"there is no hook '{unknown[0]}'; the hooks are {', '.join(HOOKS)}")

    def _call(self, plugin: object, hook_name: str, register: Collector) -> None:
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        self._manager.subset_hook_caller(hook_name, others)(register=register)


def _wanted(points: list[EntryPoint]) -> list[EntryPoint]:
    """The entry points that COPGKIT_PLUGINS names, by entry point or by distribution; all if it is not set, none if it
    is empty."""
    limit = os.environ.get(ONLY)
    if limit is None:
        return points
    wanted = [name.strip() for name in limit.split(",") if name.strip()]
    known = {name for point in points for name in (point.name, _owner(point)[0])}
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Installed: {', '.join(sorted(known)) or 'none'}."
            raise PluginError(f"{ONLY}: no installed plugin is called '{name}'. {hint}")
    return [point for point in points if point.name in wanted or _owner(point)[0] in wanted]


def _owner(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution of an entry point; metadata may be damaged."""
    distribution = point.dist
    metadata: Any = distribution.metadata if distribution else None
    if not metadata or not metadata["Name"]:
        return point.value.partition(":")[0].partition(".")[0], ""
    return str(metadata["Name"]), str(metadata["Version"] or "")
