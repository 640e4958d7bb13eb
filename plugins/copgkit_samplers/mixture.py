"""Several samplers, each with its share of every round.

    sampler:
      use: mixture
      options: {samplers: [{use: recorded, share: 1}, {use: policy, share: 3, options: {completions_per_prompt: 8}}]}

Samplers that draw once (recorded, reference) go round their prompts as often as is asked of them. If all of them do,
there is one round with as many groups as there are prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from copgkit import Group, Prompt, Sampler, SamplerUse, SamplingPlan, ScoredGroup

_SEEDS_APART = 15_485_863


class Share(SamplerUse):
    """One sampler of a mixture."""

    share: float = Field(1.0, gt=0, description="Its part of a round, relative to the other samplers' shares.")


class MixtureSampler(Sampler):
    """Groups of several samplers, by their shares. It covers what any one of them covers."""

    class Options(Sampler.Options):
        samplers: list[Share] = Field(min_length=1, description="The samplers, each as {use, options, share}.")

    def setup(self) -> None:
        """Makes the samplers, each with a seed of its own."""
        self._inner: list[Sampler] = []
        for number, use in enumerate(self.options.samplers):
            context = replace(self.context, seed=self.context.seed + _SEEDS_APART * number)
            self._inner.append(context.make(use))
        self._drawn: list[_Drawn] = []
        self._owed = [0.0] * len(self._inner)

    @property
    def on_policy(self) -> bool:  # type: ignore[override]
        """If all of them are."""
        return all(use.unmade.on_policy for use in self.options.samplers)

    @property
    def steps_per_round(self) -> int | None:  # type: ignore[override]
        """The least that one of them asks for; None if all of them draw once."""
        asked = [use.unmade.steps_per_round for use in self.options.samplers]
        return min((steps for steps in asked if steps is not None), default=None)

    @property
    def caveat(self) -> str | None:  # type: ignore[override]
        """None if any of them has none: the union of what they write is enough."""
        caveats = [use.unmade.caveat for use in self.options.samplers]
        return None if None in caveats else " ".join(dict.fromkeys(filter(None, caveats)))

    def draw(self, num_groups: int | None) -> list[Group]:
        """Each sampler's groups after the other's; what a share leaves over is made up for in later rounds."""
        wanted = len(self.context.prompts) if num_groups is None else num_groups
        groups: list[Group] = []
        self._drawn = []
        for number, count in enumerate(self._counts(wanted)):
            own = self._inner[number].draw(count) if count else []
            self._drawn += [_Drawn.of(number, group) for group in own]
            groups += own
        return groups

    def select(self, scored: Sequence[ScoredGroup]) -> list[ScoredGroup]:
        """What each sampler selects of its own groups."""
        return [one for number, own in self._by_sampler(scored) for one in self._inner[number].select(own)]

    def observe(self, groups: Sequence[ScoredGroup]) -> None:
        """Shows each sampler its own groups."""
        for number, own in self._by_sampler(groups):
            self._inner[number].observe(own)

    def statistics(self) -> dict[str, float]:
        """How many groups each sampler drew, and its own figures under its name and number."""
        figures: dict[str, float] = {}
        for number, (use, sampler) in enumerate(zip(self.options.samplers, self._inner, strict=True), start=1):
            figures[f"{use.use}-{number}/groups"] = sum(drawn.number == number - 1 for drawn in self._drawn)
            figures |= {f"{use.use}-{number}/{name}": value for name, value in sampler.statistics().items()}
        return figures

    def state(self) -> dict[str, Any]:
        """The states of all, what shares have left over, and whose groups those of the present round are."""
        return {
            "owed": list(self._owed),
            "inner": [sampler.state() for sampler in self._inner],
            "drawn": [[drawn.number, drawn.prompt, sorted(drawn.texts)] for drawn in self._drawn],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores all."""
        self._owed = [float(owed) for owed in state["owed"]]
        self._drawn = [_Drawn(number, prompt, frozenset(texts)) for number, prompt, texts in state["drawn"]]
        for sampler, saved in zip(self._inner, state["inner"], strict=True):
            sampler.restore(saved)

    def close(self) -> None:
        """Closes all."""
        for sampler in self._inner:
            sampler.close()

    @classmethod
    def plan(cls, options: Any) -> SamplingPlan:
        """The means of their plans, by shares."""
        total = math.fsum(use.share for use in options.samplers)
        plans = [(use.share / total, use.plan) for use in options.samplers]
        sizes = {plan.completions_per_prompt for _, plan in plans}
        generators = dict.fromkeys(plan.generator for _, plan in plans if plan.generator != "none")
        drawn = math.fsum(share * plan.drawn_per_group for share, plan in plans)
        generated = math.fsum(share * plan.drawn_per_group * plan.generations_per_group for share, plan in plans)
        return SamplingPlan(
            completions_per_prompt=sizes.pop() if len(sizes) == 1 else None,
            generations_per_group=generated / drawn,
            generator=" and ".join(generators) or "none",
            drawn_per_group=drawn,
        )

    def _counts(self, wanted: int) -> list[int]:
        """How many groups each draws: one group after the other goes to the sampler that is owed most."""
        total = math.fsum(use.share for use in self.options.samplers)
        counts = [0] * len(self._inner)
        for _ in range(wanted):
            owed = zip(self._owed, self.options.samplers, strict=True)
            self._owed = [before + use.share / total for before, use in owed]
            number = max(range(len(counts)), key=self._owed.__getitem__)
            self._owed[number] -= 1
            counts[number] += 1
        return counts

    def _by_sampler(self, scored: Sequence[ScoredGroup]) -> Iterator[tuple[int, list[ScoredGroup]]]:
        """The scored groups of each sampler. Some of those drawn may have been left out on the way, and completions
        of others; the order stays."""
        own: list[list[ScoredGroup]] = [[] for _ in self._inner]
        drawn = iter(self._drawn)
        for one in scored:
            number = next((each.number for each in drawn if each.became(one.group)), None)
            if number is not None:
                own[number].append(one)
        yield from enumerate(own)


@dataclass(frozen=True)
class _Drawn:
    """A drawn group, as far as it must be known again: which sampler's it is, its prompt, and its completions."""

    number: int
    prompt: str
    texts: frozenset[str]

    @classmethod
    def of(cls, number: int, group: Group) -> _Drawn:
        return cls(number, _name(group.prompt), frozenset(completion.text for completion in group.completions))

    def became(self, scored: Group) -> bool:
        """Whether a group is what tokenising and scoring left of this one."""
        return _name(scored.prompt) == self.prompt and self.texts.issuperset(one.text for one in scored.completions)


def _name(prompt: Prompt) -> str:
    return f"{prompt.id}|{prompt.content_key}"
