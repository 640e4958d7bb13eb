"""A recipe with everything known: typed sections, components with checked options, and where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from copgkit.components import Context
from copgkit.errors import PluginError, RecipeError
from copgkit.plugin_door import Registered
from copgkit.recipe.boundaries import check_boundaries
from copgkit.recipe.checks import ONLY_WITH, SamplerFacts, check_combinations
from copgkit.recipe.faults import Faults
from copgkit.recipe.overrides import Overrides, apply_overrides
from copgkit.recipe.reading import Document, KeyPath, dotted, leaves, read_document
from copgkit.recipe.schema import Recipe, Use
from copgkit.registry import Registry
from copgkit.samplers import Sampler, SamplerUse

U = TypeVar("U", bound=Use)


@dataclass(frozen=True)
class Part:
    """A component that the recipe uses. key: where ("rewards[0]"). label: how metrics and messages call it. inner: the
    samplers that its options name."""

    key: str
    label: str
    registered: Registered[Any]
    options: BaseModel
    inner: tuple[Part, ...] = ()

    def make(self, context: Context) -> Any:
        """The component at work. Raises PluginError naming its owner if it fails in a way of its own."""
        with self.registered.blamed_for("setup()"):
            return self.registered.cls(self.options, context)

    def __iter__(self) -> Iterator[Part]:
        """The part itself, then those inside it, from the outside in."""
        yield self
        for part in self.inner:
            yield from part


@dataclass(frozen=True)
class Parts:
    """The components of a run."""

    prompts: Part
    sampler: Part
    rewards: tuple[Part, ...]
    evaluation_prompts: Part | None
    evaluators: tuple[Part, ...]

    def __iter__(self) -> Iterator[Part]:
        held_out = () if self.evaluation_prompts is None else (self.evaluation_prompts,)
        return iter((self.prompts, *self.sampler, *self.rewards, *held_out, *self.evaluators))


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe that is ready to run.

    recipe: all sections; options are complete, defaults of the plugins included. origins: where each value came from,
    by dotted key: "recipe.yaml:12", "--set" or "default". path: the file as it was named; folder: where its relative
    paths start; text: the file as it was given.
    """

    recipe: Recipe
    parts: Parts
    origins: Mapping[str, str]
    path: Path
    folder: Path
    text: str

    @property
    def sampler_facts(self) -> SamplerFacts:
        """What the sampler does with its options."""
        return _sampler_facts(self.parts.sampler)

    @property
    def reference_remembers(self) -> bool:
        """Whether what the reference writes in float32 needs no pass of it: if it stays as it is, and all is drawn at
        once. A run in rounds that goes on would not have what was written in earlier rounds any more."""
        stays, offline = self.recipe.reference.refresh_every is None, self.sampler_facts.steps_per_round is None
        return stays and offline and self.recipe.train.precision == "float32"

    @property
    def components(self) -> dict[str, Part]:
        """The components by the key at which the recipe uses them: "sampler", "rewards[0]", "evaluate.with[0]"."""
        return {part.key: part for part in self.parts}

    @property
    def default_output(self) -> Path:
        """Where a run's folder is made if nobody says otherwise."""
        return self.folder / self.recipe.output if self.recipe.output else Path("runs") / self.path.stem

    def values(self) -> Iterator[tuple[str, Any]]:
        """Every value of the recipe by its dotted key, in the order of the schema."""
        for path, value in leaves(plain(self.recipe)):
            yield dotted(path), value


def load_recipe(path: str | Path, set: Overrides = (), registry: Registry | None = None) -> ResolvedRecipe:
    """Reads, checks and resolves a recipe, without torch and without running anything.

    set: changes, as ["objective.beta=0.1"] or {"objective.beta": 0.1}. registry: the components there are; the
    installed ones by default. Raises RecipeError with every fault found, one a line, each with file and line.
    """
    path = Path(path)
    folder = path.parent.resolve()
    document = read_document(path, str(path))
    apply_overrides(document, set)
    faults = Faults(document)
    recipe = faults.validate(Recipe, document.data)
    registry = registry or Registry.load()
    _add_files(registry, document.data.get("plugins"), folder, faults)
    finder = _Finder(registry, document.data, faults)
    parts = finder.parts()
    faults.stop_if_any()
    assert recipe is not None
    assert parts is not None
    _check(recipe, parts.sampler, faults)
    _require_model(recipe, folder, faults)
    check_boundaries(recipe, document, folder, faults)
    faults.stop_if_any()
    complete = _with_options(recipe, parts)
    return ResolvedRecipe(complete, parts, _origins(complete, document), path, folder, document.text)


def plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the data that a YAML file would hold, without the settings that do not apply to its objective."""
    data: dict[str, Any] = recipe.model_dump(mode="json", by_alias=True)
    for key, objective in ONLY_WITH.items():
        if recipe.objective.use != objective:
            del data["objective"][key]
    return data


def _check(recipe: Recipe, sampler: Part, faults: Faults) -> None:
    """Notes what cannot work together; a sampler may refuse its own options or those of a sampler inside it."""
    try:
        facts = _sampler_facts(sampler)
    except RecipeError as fault:
        faults.add(("sampler", "options"), str(fault))
    else:
        check_combinations(recipe, facts, faults)


def _sampler_facts(part: Part) -> SamplerFacts:
    """What the sampler says of itself before it is set up: its attributes may depend on the options."""
    cls: type[Sampler] = part.registered.cls
    with part.registered.blamed_for("plan()"):
        plan, told = cls.plan(part.options), cls.unmade(part.options)
        return SamplerFacts(part.registered.name, told.on_policy, told.steps_per_round, plan)


def _require_model(recipe: Recipe, folder: Path, faults: Faults) -> None:
    """Notes a fault for a model that can only be a folder and is not there."""
    model = getattr(recipe.policy, "model", None)
    if model is None or (folder / Path(model).expanduser()).is_dir():
        return
    first, slash, _ = model.partition("/")
    if model.startswith((".", "~", "/")) or model.count("/") > 1 or (slash and (folder / first).is_dir()):
        faults.add(("policy", "model"), f"there is no folder '{model}'. Paths are relative to the recipe.")


def _add_files(registry: Registry, files: Any, folder: Path, faults: Faults) -> None:
    for index, file in enumerate(files if isinstance(files, list) else ()):
        if isinstance(file, str):
            try:
                registry.add_file(folder / file, file)
            except PluginError as fault:
                faults.add(("plugins", index), str(fault))


@dataclass(frozen=True)
class _Finder:
    """Finds the components that the data names, and checks their options; a fault is noted and gives None."""

    registry: Registry
    data: dict[str, Any]
    faults: Faults

    def parts(self) -> Parts | None:
        prompts = self.part(("prompts",), "prompt source")
        sampler = self.part(("sampler",), "sampler")
        rewards = self.parts_of(("rewards",), "reward source")
        held_out = self.part(("evaluate", "prompts"), "prompt source")
        evaluators = self.parts_of(("evaluate", "with"), "evaluator")
        return Parts(prompts, sampler, rewards, held_out, evaluators) if prompts and sampler else None

    def parts_of(self, path: KeyPath, kind: str) -> tuple[Part, ...]:
        items = _at(self.data, path)
        found = [self.part((*path, index), kind) for index in range(len(items) if isinstance(items, list) else 0)]
        return tuple(part for part in found if part)

    def part(self, path: KeyPath, kind: str) -> Part | None:
        use = _at(self.data, path)
        if not isinstance(use, dict) or not isinstance(use.get("use"), str):
            return None  # the schema has said so, or there is none
        options = use.get("options", {})
        if not isinstance(options, dict):
            return None
        return self.checked(path, kind, use["use"], options, use.get("name"))

    def checked(self, path: KeyPath, kind: str, name: str, options: dict[str, Any], label: Any = None) -> Part | None:
        item = self.registry.lookup(kind, name)
        if item is None:
            self.faults.add((*path, "use"), self.registry.unknown(kind, name))
            self.faults.note(self.registry.failures_note())
            return None
        owner = f"'{item.name}' ({item.owner})"
        checked = self.faults.validate(item.cls.Options, options, at=(*path, "options"), owner=owner)
        if checked is None:
            return None
        inner = [self.inside(use, (*path, "options", *place)) for place, use in SamplerUse.all_in(checked)]
        return Part(dotted(path), str(label or item.name), item, checked, tuple(part for part in inner if part))

    def inside(self, use: SamplerUse, path: KeyPath) -> Part | None:
        """The sampler that stands in another's options; the use is told what it means."""
        part = self.checked(path, "sampler", use.use, use.options)
        if part is not None:
            use.tie(part.registered.cls, part.options, part.make)
        return part


def _at(data: Any, path: KeyPath) -> Any:
    """The data at a path; None where it leads nowhere."""
    for part in path:
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) else None
        else:
            data = data.get(part) if isinstance(data, dict) else None
    return data


def _with_options(recipe: Recipe, parts: Parts) -> Recipe:
    """The recipe with the complete options of every component."""
    evaluate = recipe.evaluate
    held_out, part = evaluate.prompts, parts.evaluation_prompts
    changed = {
        "prompts": held_out if held_out is None or part is None else _complete(held_out, part),
        "evaluators": list(map(_complete, evaluate.evaluators, parts.evaluators)),
    }
    return recipe.model_copy(
        update={
            "prompts": _complete(recipe.prompts, parts.prompts),
            "sampler": _complete(recipe.sampler, parts.sampler),
            "rewards": list(map(_complete, recipe.rewards, parts.rewards)),
            "evaluate": evaluate.model_copy(update=changed),
        }
    )


def _complete(use: U, part: Part) -> U:
    return use.model_copy(update={"options": part.options.model_dump(mode="json", by_alias=True)})


def _origins(recipe: Recipe, document: Document) -> dict[str, str]:
    short = Document(None, Path(document.name).name, "", document.key_lines, document.value_lines, document.overridden)
    return {
        dotted(path): short.place(path) if document.is_given(path) else "default" for path, _ in leaves(plain(recipe))
    }
