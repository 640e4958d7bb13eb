"""Groups of earlier rounds beside fresh ones: completions are generated once and trained on several times.

    sampler: {use: replay, options: {share: 0.5, max_age: 20, sampler: {use: policy, options: {every: 2}}}}

Nothing corrects for the age of a group, since nothing needs to: the loss has the same optimum whoever wrote the
completions. Old groups only say less about what the policy writes now.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from copgkit import Group, RecipeError, SamplingPlan, ScoredGroup
from copgkit_samplers.buffer import Buffer, Held, content_key
from copgkit_samplers.wrapping import Wrapper


class ReplaySampler(Wrapper):
    """A round is part fresh groups of the sampler inside, part groups of earlier rounds, none of them twice.

    While too few are held, more fresh ones are drawn. A choice by reward prefers groups, not completions, and leaves
    the optimum where it is.
    """

    on_policy = False

    class Options(Wrapper.Options):
        share: float = Field(0.5, gt=0, lt=1, description="Share of a round that comes from earlier rounds.")
        capacity: int = Field(1024, ge=1, description="Groups held; the oldest leave first.")
        max_age: int | None = Field(None, ge=1, description="Rounds after which a group is let go; null: never.")
        choice: Literal["uniform", "reward"] = Field(
            "uniform", description="Which groups come again: any, or with odds exp(mean reward / temperature)."
        )
        temperature: float = Field(1.0, gt=0, description="Of the choice by reward, in units of reward.")

    def setup(self) -> None:
        """Holds nothing yet."""
        super().setup()
        self._buffer = Buffer(self.options.capacity)
        self._rounds = 0
        self._again = 0  # groups of this round that come from earlier ones
        self._chosen: list[Held] = []
        self._age = 0.0  # of those, on average, in rounds

    def draw(self, num_groups: int | None) -> list[Group]:
        """The fresh part of the round: at least one group, all of them while nothing is held."""
        if num_groups is None:
            return self.inner.draw(None)
        if self.options.max_age is not None:
            self._buffer.forget_before(self._rounds - self.options.max_age)
        wanted = min(round(self.options.share * num_groups), num_groups - 1)
        self._again = max(0, min(wanted, len(self._buffer)))
        return self.inner.draw(num_groups - self._again)

    def choose(self, scored: Sequence[ScoredGroup]) -> list[ScoredGroup]:
        """The fresh groups and as many earlier ones as were left room for; the fresh ones are held for later."""
        chance = random.Random(f"{self.context.seed}|replay|{self._rounds}")
        temperature = self.options.temperature if self.options.choice == "reward" else None
        fresh = {content_key(one) for one in scored}
        self._chosen = self._buffer.choose(self._again, chance, temperature, besides=fresh)
        self._age = self._mean_age()
        self._buffer.add(scored, self._rounds)
        self._rounds += 1
        return [*scored, *(held.scored for held in self._chosen)]

    def statistics(self) -> dict[str, float]:
        """What is held, and how many groups of what mean age came again in the last round."""
        figures = {"buffer/groups": len(self._buffer), "replayed/groups": len(self._chosen)}
        ages = {"replayed/age": self._age} if self._chosen else {}
        return {**super().statistics(), **figures, **ages}

    def state(self) -> dict[str, Any]:
        """The groups held with scores and rewards, and the round."""
        return {**super().state(), "rounds": self._rounds, "buffer": self._buffer.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on with the groups that were held."""
        super().restore(state)
        self._rounds = int(state["rounds"])
        self._buffer.restore(state["buffer"], self.context.prompts)

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """As the sampler inside, for the fresh part. Raises RecipeError around a sampler without rounds."""
        if options.sampler.unmade.steps_per_round is None:
            raise RecipeError(
                f"'replay' needs a sampler that draws round after round, and '{options.sampler.use}' draws once."
                " Passing over its groups again is train.epochs."
            )
        plan = super().plan(options)
        fresh = plan.drawn_per_group * (1 - options.share)
        return SamplingPlan(plan.completions_per_prompt, plan.generations_per_group, plan.generator, plan.groups, fresh)

    def _mean_age(self) -> float:
        ages = [self._rounds - held.round for held in self._chosen]
        return sum(ages) / len(ages) if ages else 0.0
