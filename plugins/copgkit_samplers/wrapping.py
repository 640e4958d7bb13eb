"""Common part of the samplers that stand around another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from copgkit import Group, Sampler, SamplerUse, SamplingPlan, ScoredGroup


class Wrapper(Sampler):
    """Draws what the sampler inside draws. What is left of a round is for `choose` to say.

    own_caveat: what the wrapper itself may fail to connect.
    """

    own_caveat: str | None = None

    class Options(Sampler.Options):
        sampler: SamplerUse = Field(description="The sampler inside, as {use: policy, options: {...}}.")

    def setup(self) -> None:
        """Makes the sampler inside."""
        self.inner = self.context.make(self.options.sampler)

    @property
    def on_policy(self) -> bool:  # type: ignore[override]
        """As the sampler inside."""
        return self._unmade.on_policy

    @property
    def steps_per_round(self) -> int | None:  # type: ignore[override]
        """As the sampler inside."""
        return self._unmade.steps_per_round

    @property
    def caveat(self) -> str | None:  # type: ignore[override]
        """Its own and that of the sampler inside."""
        return " ".join(filter(None, [self.own_caveat, self._unmade.caveat])) or None

    @property
    def _unmade(self) -> Sampler:
        use: SamplerUse = self.options.sampler
        return use.unmade

    def choose(self, scored: Sequence[ScoredGroup]) -> Sequence[ScoredGroup]:
        """What is trained on of what the sampler inside has selected."""
        return scored

    def draw(self, num_groups: int | None) -> list[Group]:
        """As the sampler inside."""
        return self.inner.draw(num_groups)

    def select(self, scored: Sequence[ScoredGroup]) -> Sequence[ScoredGroup]:
        """The sampler inside selects first."""
        return self.choose(self.inner.select(scored))

    def observe(self, groups: Sequence[ScoredGroup]) -> None:
        """Tells the sampler inside."""
        self.inner.observe(groups)

    def statistics(self) -> Mapping[str, float]:
        """Those of the sampler inside."""
        return self.inner.statistics()

    def state(self) -> dict[str, Any]:
        """That of the sampler inside; a wrapper with a state of its own adds to it."""
        return {"inner": self.inner.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the sampler inside."""
        self.inner.restore(state["inner"])

    def close(self) -> None:
        """Closes the sampler inside."""
        self.inner.close()

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """As the sampler inside."""
        plan: SamplingPlan = options.sampler.plan
        return plan
