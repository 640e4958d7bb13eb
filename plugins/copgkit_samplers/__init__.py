"""The samplers that come with copgkit: groups from the data, from the frozen reference, or from the policy itself."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from copgkit import (
    Completion,
    CopgkitError,
    DataError,
    GenerationSettings,
    Generator,
    Group,
    Prompt,
    Sampler,
    SamplingPlan,
    hookimpl,
)

_PROMPTS_PER_CALL = 64


class RecordedSampler(Sampler):
    """Groups of the completions that came with the data. Nothing is generated."""

    class Options(Sampler.Options):
        on_small_group: Literal["stop", "drop"] = Field(
            "stop", description="What a prompt with fewer than two completions does: stop the run, or be left out."
        )

    def draw(self, num_groups: int | None) -> list[Group]:
        """Every prompt's recorded completions, once. Raises DataError for a group without contrast."""
        groups = [_recorded_group(prompt) for prompt in self.context.prompts]
        small = [group for group in groups if len(group.completions) < 2]
        if small and self.options.on_small_group == "stop":
            raise DataError(
                f"{small[0].prompt.place}: {len(small[0].completions)} recorded completions; a group needs at least two"
                f" ({len(small)} of {len(groups)} prompts have fewer). Say `on_small_group: drop` to leave them out."
            )
        if small:
            self.context.progress.warning(
                f"sampler 'recorded': {len(small)} of {len(groups)} prompts have fewer than two completions and are"
                " left out."
            )
        kept = [group for group in groups if len(group.completions) >= 2]
        return kept[:num_groups]


class _Generating(Sampler):
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

    def _generate(self, generator: Generator | None, prompts: Sequence[Prompt], seed: int) -> list[Group]:
        if generator is None:
            raise CopgkitError(f"sampler '{self.context.name}': it was given no model to generate with.")
        settings = GenerationSettings(self.options.temperature, self.options.top_p, seed=seed)
        groups: list[Group] = []
        with self.context.progress.phase("generate", total=len(prompts), unit="prompts") as phase:
            for start in range(0, len(prompts), _PROMPTS_PER_CALL):
                chunk = prompts[start : start + _PROMPTS_PER_CALL]
                rows = generator.generate(chunk, self.options.completions_per_prompt, settings)
                groups += [Group(prompt, tuple(row)) for prompt, row in zip(chunk, rows, strict=True)]
                phase.advance(len(chunk))
        return groups


class ReferenceSampler(_Generating):
    """K completions of every prompt from the frozen reference, drawn once, before training."""

    def draw(self, num_groups: int | None) -> list[Group]:
        """One group for each prompt, in the order of the data."""
        return self._generate(self.context.reference, self.context.prompts[:num_groups], self.context.seed)

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """K generations for each prompt."""
        return SamplingPlan(options.completions_per_prompt, options.completions_per_prompt, "reference")


class PolicySampler(_Generating):
    """Fresh groups from the policy as it is, every N steps; N = 1 is on-policy.

    Prompts come in a shuffled order, all of them once before any comes again.
    """

    on_policy = True

    class Options(_Generating.Options):
        every: int = Field(1, ge=1, description="Optimiser steps that the groups of one draw serve; 1 is on-policy.")

    def setup(self) -> None:
        """Starts at the first prompt of the first pass."""
        self._drawn = 0  # prompts taken so far
        self._rounds = 0

    @property
    def steps_per_round(self) -> int | None:  # type: ignore[override]
        """`every`."""
        return int(self.options.every)

    def draw(self, num_groups: int | None) -> list[Group]:
        """The next num_groups prompts (all of them if None) with completions of the current policy."""
        wanted = len(self.context.prompts) if num_groups is None else num_groups
        prompts = [self._prompt(self._drawn + offset) for offset in range(wanted)]
        # A seed of its own for each round: the same prompt gets other completions when it comes again.
        seed = self.context.seed + 1_000_003 * (self._rounds + 1)
        groups = self._generate(self.context.policy, prompts, seed)
        self._drawn += wanted
        self._rounds += 1
        return groups

    def state(self) -> dict[str, Any]:
        """How far it is; plain data."""
        return {"drawn": self._drawn, "rounds": self._rounds}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on after the prompts that were drawn when the state was taken."""
        self._drawn, self._rounds = int(state["drawn"]), int(state["rounds"])

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """K generations for each group."""
        return SamplingPlan(options.completions_per_prompt, options.completions_per_prompt, "policy")

    def _prompt(self, number: int) -> Prompt:
        pass_number, position = divmod(number, len(self.context.prompts))
        if getattr(self, "_order_of", None) != pass_number:
            self._order = list(range(len(self.context.prompts)))
            random.Random(f"{self.context.seed}|{pass_number}").shuffle(self._order)
            self._order_of = pass_number
        return self.context.prompts[self._order[position]]


def _recorded_group(prompt: Prompt) -> Group:
    return Group(
        prompt,
        tuple(Completion(prompt, one.text, one.token_ids, one.finished, one.scores) for one in prompt.recorded),
        prompt.recorded_weights,
    )


@hookimpl
def register_samplers(register: Any) -> None:
    """Announces `recorded`, `reference` and `policy`."""
    register("recorded", RecordedSampler)
    register("reference", ReferenceSampler)
    register("policy", PolicySampler)
