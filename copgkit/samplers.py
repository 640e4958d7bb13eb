"""What a sampler must be: the component that makes groups, what it works with, and how its options name another one.

Samplers go inside each other: a `SamplerUse` stands in the options of the outer one, and its context makes the inner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_serializer

from copgkit.components import Component, Context
from copgkit.errors import PluginError
from copgkit.types import Completion, GenerationSettings, Group, Prompt, ScoredGroup


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
