"""Groups that a model writes: the frozen reference once, or the policy as it is, again and again.

A completion depends on the seed, its prompt and its number, not on the prompts that are drawn beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from copgkit import CopgkitError, GenerationSettings, Generator, Group, Prompt, Sampler, SamplingPlan
from copgkit_samplers.turns import Turns

_PROMPTS_PER_CALL = 256


class Generating(Sampler):
    """Common part of the samplers that generate."""

    class Options(Sampler.Options):
        completions_per_prompt: int = Field(4, ge=2, description="Completions in a group.")
        temperature: float = Field(1.0, gt=0, description="Below 1 the likely completions come more often.")
        top_p: float = Field(
            1.0,
            gt=0,
            le=1,
            description="Keep only the likeliest tokens that hold this mass. The loss does not mind, but completions"
            " outside are never seen.",
        )

    @property
    def caveat(self) -> str | None:  # type: ignore[override]
        """What top_p cuts off."""
        if self.options.top_p >= 1:
            return None
        return (
            f"top_p = {self.options.top_p:g} never writes the rarer tokens, so that completions with them are not"
            " trained on: their probability goes wherever the others' leaves it."
        )

    def setup(self) -> None:
        """Starts at the first prompt of the first pass."""
        self._turns = Turns(self.context.prompts, self.context.seed)

    def state(self) -> dict[str, Any]:
        """How far it is in its passes."""
        return self._turns.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on after the prompts that were drawn when the state was saved."""
        self._turns.restore(state)

    def generate(self, generator: Generator | None, prompts: Sequence[Prompt], seed: int) -> list[Group]:
        """A group for each prompt, in order."""
        if generator is None:
            raise CopgkitError(f"sampler '{self.context.name}': it was given no model to generate with.")
        settings = GenerationSettings(self.options.temperature, self.options.top_p, seed=seed)
        groups: dict[int, Group] = {}
        with self.context.progress.phase("generate", total=len(prompts), unit="prompts") as phase:
            for places in _calls(prompts):
                asked = [prompts[place] for place in places]
                rows = generator.generate(asked, self.options.completions_per_prompt, settings)
                answered = zip(places, asked, rows, strict=True)
                groups |= {place: Group(prompt, tuple(row)) for place, prompt, row in answered}
                phase.advance(len(places))
        return [groups[place] for place in range(len(prompts))]


class ReferenceSampler(Generating):
    """K completions of every prompt from the frozen reference, drawn once, before training."""

    def draw(self, num_groups: int | None) -> list[Group]:
        """One group for each prompt in the order of the data (None), or for the next prompts in shuffled passes."""
        if num_groups is None:
            return self.generate(self.context.reference, self.context.prompts, self.context.seed)
        prompts = self._turns.take(num_groups)
        return self.generate(self.context.reference, prompts, self._turns.seed)

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """K generations for each prompt."""
        return SamplingPlan(options.completions_per_prompt, options.completions_per_prompt, "reference")


class PolicySampler(Generating):
    """Fresh groups from the policy as it is, every N steps; N = 1 is on-policy.

    Prompts come in a shuffled order, all of them once before any comes again. With N = 1 and beta = 0 this is RLOO.
    """

    on_policy = True

    class Options(Generating.Options):
        every: int = Field(1, ge=1, description="Optimiser steps that the groups of one draw serve; 1 is on-policy.")

    @property
    def steps_per_round(self) -> int | None:  # type: ignore[override]
        """`every`."""
        return int(self.options.every)

    def draw(self, num_groups: int | None) -> list[Group]:
        """The next num_groups prompts (all of them if None) with completions of the current policy."""
        prompts = self._turns.take(len(self.context.prompts) if num_groups is None else num_groups)
        return self.generate(self.context.policy, prompts, self._turns.seed)

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """K generations for each group."""
        return SamplingPlan(options.completions_per_prompt, options.completions_per_prompt, "policy")


def _calls(prompts: Sequence[Prompt]) -> Iterator[list[int]]:
    """The places of the prompts, call by call; equal prompts share one, where they get different completions."""
    alike: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        alike.setdefault(prompt.content_key, []).append(place)
    call: list[int] = []
    for places in alike.values():
        call += places
        if len(call) >= _PROMPTS_PER_CALL:
            yield call
            call = []
    if call:
        yield call
