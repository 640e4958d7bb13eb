"""What a plugin must be: four kinds of component, each with options of its own.

A component is made from its validated `Options` and a `Context`. Every method but the one that does the work has a
default, so that a method can be added later without breaking a plugin. Modules that define components import heavy
libraries (torch, transformers, datasets) inside methods only: `copgkit check` reads the options without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_serializer

from copgkit.errors import DataError, PluginError
from copgkit.progress import Progress
from copgkit.types import (
    Completion,
    Curves,
    Estimate,
    Evaluation,
    GenerationSettings,
    Group,
    Prompt,
    Score,
    ScoredGroup,
)

_CHECKPOINT_FILES = {".safetensors", ".json", ".txt", ".model", ".jinja"}


@dataclass(frozen=True)
class Context:
    """What the run tells a component.

    name: the name under which the recipe uses it (metrics and messages carry it).
    folder: the recipe's folder; paths in options are relative to it.
    seed: the run's seed. device: "cpu", "cuda", ... for components that own a model.
    """

    name: str = ""
    folder: Path = Path(".")
    seed: int = 0
    device: str = "cpu"
    progress: Progress = field(default_factory=Progress)

    def path(self, given: str) -> Path:
        """`given` as a path, relative to the recipe's folder."""
        return (self.folder / Path(given).expanduser()).resolve()

    def model(self, given: str) -> str:
        """`given` as transformers takes it: the folder beside the recipe where there is one, else a hub name."""
        beside = self.path(given)
        return str(beside) if beside.exists() else given

    def digest(self, given: str) -> str | None:
        """The content of a model folder as a hash, for fingerprints: weights, configuration and tokenizer, by name.
        None where there is no such folder beside the recipe."""
        folder = self.path(given)
        if not folder.is_dir():
            return None
        digest = hashlib.sha256()
        for file in sorted(folder.iterdir()):
            if file.suffix in _CHECKPOINT_FILES:
                digest.update(f"{file.name}\n".encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()


class Component:
    """Common part of the four kinds. Override `setup` rather than `__init__`."""

    kind: ClassVar[str] = "component"

    class Options(BaseModel):
        """What a recipe may set. Extend it as `class Options(RewardSource.Options)`: typed, strict about unknown keys.

        Give every field a description (`Field(description=...)`): `copgkit describe` prints it.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        self.options: Any = self.Options() if options is None else options
        self.context: Context = context or Context()
        self.setup()

    def setup(self) -> None:
        """Prepares the component; called once, after `options` and `context` are set."""

    def describe_run(self) -> Mapping[str, str]:
        """What it found on this machine, by name, for `run.json` ({"sandbox": "full"}); short, and nothing private."""
        return {}

    def close(self) -> None:
        """Releases what the component holds (models, processes). It may be called more than once."""

    def text_of(self, prompt: Prompt, where: str | None = None) -> str:
        """The text that `where` names: None for the prompt itself, 'answer', or a fact such as 'facts.post'.

        Raises DataError naming the prompt if it has no such text."""
        if where is None:
            return prompt.text
        value = prompt.answer if where == "answer" else prompt.facts.get(where.removeprefix("facts."))
        if not isinstance(value, str):
            raise DataError(
                f"{prompt.place}: {self.kind} '{self.context.name}' asks for the text '{where}', which this prompt does"
                f" not have. Its facts: {', '.join(prompt.facts) or 'none'}."
            )
        return value


class PromptSource(Component):
    """Gives the prompts of a run."""

    kind: ClassVar[str] = "prompt source"

    def load(self) -> Iterable[Prompt]:
        """Gives every prompt, in order. Raises DataError naming file and row for a bad one."""
        raise PluginError(f"prompt source '{self.context.name}': it does not define load().")

    def count(self) -> int | None:
        """The number of prompts if it can be told cheaply and without torch or datasets, else None (for `check`).

        Raises DataError for data that is missing."""
        return None


class Generator(Protocol):
    """A model that completes prompts: the policy or the reference."""

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """Draws completions_per_prompt completions for each prompt, in order."""
        ...


@dataclass(frozen=True)
class SamplerContext(Context):
    """What a sampler works with: the prompts of the run, and the two models that can generate."""

    prompts: Sequence[Prompt] = ()
    policy: Generator | None = None
    reference: Generator | None = None

    def make(self, use: SamplerUse) -> Sampler:
        """The sampler that another one's options name, with this context under its own name."""
        return use.make(replace(self, name=use.use))


@dataclass(frozen=True)
class SamplingPlan:
    """What a sampler will do, told before anything runs. completions_per_prompt None: not known beforehand.

    drawn_per_group: groups that are drawn and scored for one that is trained on, on average: less than 1 where groups
    come again, more where some are thrown away. generations_per_group: completions generated for a drawn group.
    """

    completions_per_prompt: int | None
    generations_per_group: float
    generator: str  # "none", "reference", "policy", or several of them joined by " and "
    groups: int | None = None  # None: one for each prompt
    drawn_per_group: float = 1.0


class Sampler(Component):
    """Makes groups. Its context is a `SamplerContext`.

    A round goes: `draw`, then the engine tokenises and scores, `select`, training, `observe`.

    on_policy: True only if every group is drawn from the policy that it then trains.
    steps_per_round: how many optimiser steps the groups of one draw serve; None means that one draw holds all the
    groups there are (offline) and that training passes over it `train.epochs` times.
    caveat: what the pairs it gives may fail to connect, in a sentence that the run shows as a warning; None if they
    connect all that its generator can write, which is what the optimum needs.
    All three may be properties of the options; they are read before `setup`.
    """

    kind: ClassVar[str] = "sampler"
    context: SamplerContext
    on_policy: bool = False
    steps_per_round: int | None = None
    caveat: str | None = None

    def draw(self, num_groups: int | None) -> list[Group]:
        """Makes num_groups groups; None means all that the prompts give, once each."""
        raise PluginError(f"sampler '{self.context.name}': it does not define draw().")

    def select(self, scored: Sequence[ScoredGroup]) -> Sequence[ScoredGroup]:
        """What of a round is trained on, given the groups of the last draw with their scores; by default all of it.

        It may leave groups out, set their pair weights, and add groups that were scored in an earlier round.
        """
        return scored

    def observe(self, groups: Sequence[ScoredGroup]) -> None:
        """Learns how the groups of the last draw were scored, after they were trained on."""

    def statistics(self) -> Mapping[str, float]:
        """Figures about the last round by name ("buffer/size"), logged as `sampler/<name>`."""
        return {}

    def state(self) -> dict[str, Any]:
        """What must be saved to go on from here; plain JSON data."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state."""

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """What it will do with these options, without doing it."""
        return SamplingPlan(completions_per_prompt=None, generations_per_group=0, generator="none")

    @classmethod
    def unmade(cls, options: Any) -> Sampler:
        """The sampler before `setup`, to ask what its attributes are with these options."""
        sampler = object.__new__(cls)
        sampler.options = options
        return sampler


class SamplerUse(BaseModel):
    """A sampler by name with its options, where it stands in the options of another sampler.

        class Options(Sampler.Options):
            sampler: SamplerUse = Field(description="Where the groups come from.")

    `self.context.make(self.options.sampler)` makes it. Reading a recipe ties the name to what is installed and checks
    the options; in Python, `SamplerUse.of(PolicySampler, every=2)` is the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"component": "sampler"})

    use: str = Field(description="The sampler's name.")
    options: dict[str, Any] = Field(default_factory=dict, description="Its options; `copgkit describe NAME`.")

    _cls: type[Sampler] | None = PrivateAttr(None)
    _checked: Any = PrivateAttr(None)
    _maker: Callable[[SamplerContext], Sampler] | None = PrivateAttr(None)

    @classmethod
    def of(cls, sampler: type[Sampler], /, **options: Any) -> SamplerUse:
        """A use of this class with these options. Raises pydantic's ValidationError."""
        use = cls(use=sampler.__name__)
        use.tie(sampler, sampler.Options(**options))
        return use

    def tie(
        self, cls: type[Sampler], checked: BaseModel, maker: Callable[[SamplerContext], Sampler] | None = None
    ) -> None:
        """Says which class and checked options are meant, and what makes it; by default the class itself."""
        self._cls, self._checked, self._maker = cls, checked, maker

    def make(self, context: SamplerContext) -> Sampler:
        """The sampler at work. Raises PluginError if nobody has said what the name means."""
        if self._cls is None:
            raise self._untied()
        return self._cls(self._checked, context) if self._maker is None else self._maker(context)

    @staticmethod
    def all_in(options: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], SamplerUse]]:
        """The uses in checked options, each with the keys that lead to it; those inside a use are not followed."""
        inside: Iterable[tuple[str | int, Any]] = ()
        if isinstance(options, SamplerUse):
            yield path, options
        elif isinstance(options, BaseModel):
            fields = type(options).model_fields.items()
            inside = [(field.alias or name, getattr(options, name)) for name, field in fields]
        elif isinstance(options, Mapping):
            inside = options.items()
        elif isinstance(options, list | tuple):
            inside = enumerate(options)
        for key, item in inside:
            yield from SamplerUse.all_in(item, (*path, key))

    @property
    def unmade(self) -> Sampler:
        """What the sampler says of itself before it is made: `on_policy`, `steps_per_round`, `caveat`."""
        if self._cls is None:
            raise self._untied()
        return self._cls.unmade(self._checked)

    @property
    def plan(self) -> SamplingPlan:
        """What the sampler will do with its options."""
        if self._cls is None:
            raise self._untied()
        return self._cls.plan(self._checked)

    def __eq__(self, other: object) -> bool:
        """Whether both mean the same sampler with the same options, written out or left at their defaults."""
        return isinstance(other, SamplerUse) and type(self) is type(other) and self.model_dump() == other.model_dump()

    @field_serializer("options")
    def _complete(self, options: dict[str, Any]) -> dict[str, Any]:
        return options if self._checked is None else dict(self._checked.model_dump(mode="json", by_alias=True))

    def _untied(self) -> PluginError:
        return PluginError(f"sampler '{self.use}': the name is not tied to a sampler. Read it from a recipe.")


class RewardSource(Component):
    """Scores completions.

    What it said once is kept in the score store, keyed by the source's code, version and `fingerprint()` and by what
    it is given of a completion: prompt content, facts, answer, text, finished. So it must not read anything else.
    stored: False for a source that is as cheap as a look into the store, or whose answers must not be kept.
    reads_recorded_scores: True for one that looks at the scores that came with the data; the others do not get them.
    completions_per_call: how many completions one call should hold. None lets the clock decide, a few seconds' worth; a
    number suits a source whose last digits depend on what is batched together. May be a property.
    """

    kind: ClassVar[str] = "reward source"
    stored: ClassVar[bool] = True
    reads_recorded_scores: ClassVar[bool] = False
    completions_per_call: int | None = None

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """Gives one score per completion, in order. A score must not depend on the other completions."""
        raise PluginError(f"reward source '{self.context.name}': it does not define score().")

    def score_groups(self, groups: Sequence[Group]) -> list[Sequence[Score]]:
        """Scores whole groups, K each. The default flattens them into one call of `score`; override it for a score
        that compares the completions of a group."""
        flat = list(self.score([completion for group in groups for completion in group.completions]))
        wanted = sum(len(group.completions) for group in groups)
        if len(flat) != wanted:
            raise PluginError(
                f"reward source '{self.context.name}' returned {len(flat)} scores for {wanted} completions."
                " One score per completion, in order."
            )
        scores: list[Sequence[Score]] = []
        start = 0
        for group in groups:
            scores.append(flat[start : start + len(group.completions)])
            start += len(group.completions)
        return scores

    def fingerprint(self) -> str:
        """What makes an old score invalid when it changes: options, and by override versions or model revisions."""
        options = self.options.model_dump_json() if isinstance(self.options, BaseModel) else repr(self.options)
        return f"{type(self).__module__}.{type(self).__qualname__}:{options}"


class Evaluator(Component):
    """Measures samples of the policy."""

    kind: ClassVar[str] = "evaluator"

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """Gives figures by name, for instance {"reward/mean": Estimate(...)}; logged as `eval/<name>`."""
        raise PluginError(f"evaluator '{self.context.name}': it does not define evaluate().")

    def figures(self) -> Sequence[Curves]:
        """Gives pictures of its own for the report, asked for once at the end of a run."""
        return ()
