"""Which prompts are worth training on now: neither without signal, nor too easy, nor too hard.

sampler:
  use: difficulty
  options: {reward_between: [0.2, 0.8], memory: 0.5, sampler: {use: policy, options: {completions_per_prompt: 8}}}
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from pydantic import Field, model_validator

from copgkit import Group, Prompt, SamplingPlan, ScoredGroup
from copgkit_samplers.wrapping import Wrapper


class DifficultySampler(Wrapper):
    """Leaves out groups without signal, and groups of prompts that are too easy or too hard.

    A group whose rewards are all alike says only that their ratios should stay as in the reference. Leaving it out
    keeps the optimum of every prompt with two levels of reward, since each completion is still seen beside one of
    another level; prompts of one level are then not held at the reference. `keep_without_signal` keeps a share of them.
    A range of rewards can leave out all groups in which some completion occurs, and then moves the optimum.
    """

    class Options(Wrapper.Options):
        keep_without_signal: float = Field(
            0.0, ge=0, le=1, description="Share of the groups with equal rewards that is kept, chosen by the seed."
        )
        reward_between: tuple[float, float] | None = Field(
            None, description="Keep groups of prompts whose mean reward lies in this range; [0.2, 0.8] for pass rates."
        )
        memory: float = Field(
            0.0, ge=0, lt=1, description="Weight of a prompt's earlier groups in that mean; 0 judges each group alone."
        )
        draw_ahead: float = Field(
            1.0, ge=1, le=16, description="Groups drawn for each that is wanted, so that enough are left (not offline)."
        )

        @model_validator(mode="after")
        def _range_is_a_range(self) -> DifficultySampler.Options:
            if self.reward_between is not None and self.reward_between[0] > self.reward_between[1]:
                raise ValueError("reward_between: the first number is the larger. Write [low, high].")
            return self

    @property
    def own_caveat(self) -> str | None:  # type: ignore[override]
        """What a range may cut off."""
        if self.options.reward_between is None:
            return None
        low, high = self.options.reward_between
        return f"completions whose groups all have a mean reward outside [{low:g}, {high:g}] are not trained on."

    def setup(self) -> None:
        """Knows nothing of the prompts yet."""
        super().setup()
        self._rounds = 0
        self._means: dict[str, float] = {}
        self._wanted: int | None = None
        self._figures = {"groups/without-signal-dropped": 0, "groups/out-of-range": 0}

    def draw(self, num_groups: int | None) -> list[Group]:
        """`draw_ahead` times as many groups as asked for."""
        self._wanted = num_groups
        ahead = None if num_groups is None else math.ceil(num_groups * self.options.draw_ahead)
        return self.inner.draw(ahead)

    def choose(self, scored: Sequence[ScoredGroup]) -> list[ScoredGroup]:
        """At most as many groups as were asked for, of those that are worth it."""
        chance = random.Random(f"{self.context.seed}|difficulty|{self._rounds}")
        self._rounds += 1
        suited = [one for one in scored if self._suits(self._mean_of(one))]
        kept = [one for one in suited if _has_signal(one) or chance.random() < self.options.keep_without_signal]
        self._figures = {
            "groups/without-signal-dropped": len(suited) - len(kept),
            "groups/out-of-range": len(scored) - len(suited),
        }
        return kept[: self._wanted]

    def observe(self, groups: Sequence[ScoredGroup]) -> None:
        """Remembers how each prompt does."""
        super().observe(groups)
        if self.options.memory:
            for one in groups:
                self._means[_key(one.group.prompt)] = self._mean_of(one)

    def statistics(self) -> dict[str, float]:
        """Groups that were left out of the last round and why, beside the figures of the sampler inside."""
        return {**super().statistics(), **self._figures}

    def state(self) -> dict[str, Any]:
        """Rounds so far and the mean reward of every prompt that was met."""
        return {**super().state(), "rounds": self._rounds, "means": dict(self._means)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on with the prompts as they were known."""
        super().restore(state)
        self._rounds, self._means = int(state["rounds"]), dict(state["means"])

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """As the sampler inside, with the groups that are drawn ahead."""
        plan = super().plan(options)
        ahead = options.draw_ahead if options.sampler.unmade.steps_per_round is not None else 1.0
        return SamplingPlan(
            plan.completions_per_prompt,
            plan.generations_per_group,
            plan.generator,
            plan.groups,
            plan.drawn_per_group * ahead,
        )

    def _suits(self, mean: float) -> bool:
        low, high = self.options.reward_between or (-math.inf, math.inf)
        return bool(low <= mean <= high)

    def _mean_of(self, scored: ScoredGroup) -> float:
        """The mean reward of the group's prompt, this group included."""
        now = math.fsum(scored.rewards) / len(scored.rewards)
        before = self._means.get(_key(scored.group.prompt), now)
        return float(self.options.memory * before + (1 - self.options.memory) * now)


def _has_signal(scored: ScoredGroup) -> bool:
    return len(set(scored.rewards)) > 1


def _key(prompt: Prompt) -> str:
    return blake2b(f"{prompt.id}|{prompt.content_key}".encode(), digest_size=12).hexdigest()
