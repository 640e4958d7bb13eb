"""Rounds: from a sampler's groups to what training passes over.

    draw -> tokenise -> score -> select -> the reference's log-probabilities -> train -> observe

Offline there is one round; a sampler that draws from the policy is asked for the next one only when training has used
up the last, so that it draws from the policy as it then is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from copgkit.engine.policy import EncodingReport, Policy
from copgkit.engine.reference import Example, Reference
from copgkit.engine.scoring import Panel
from copgkit.errors import DataError, PluginError, TrainingError
from copgkit.progress import Progress
from copgkit.samplers import Sampler
from copgkit.types import Group, ScoredGroup

_ROUNDS_WITHOUT_SIGNAL = 20  # in a row, until a run of fresh rounds gives up


@dataclass(frozen=True)
class Round:
    """A round that is ready to be trained on.

    scored: all that was drawn and scored in it, which the sampler will observe; examples: what is trained on of it.
    without_signal: how many rounds in a row, this one included, had nothing to learn from. sampler: the sampler's state
    after it has selected.
    """

    number: int
    scored: Sequence[ScoredGroup]
    examples: list[Example]
    without_signal: int
    sampler: Mapping[str, Any]


@dataclass
class Rounds:
    """Draws, scores and selects. Iterating gives one round of examples after the other.

    keep(number, groups): called with a round's groups before they are scored and again with their scores. log: called
    with the figures of each round. present: the round that was given last; one that is there from the start, from a run
    that was broken off in it, is given first.
    """

    sampler: Sampler
    policy: Policy
    reference: Reference
    panel: Panel
    groups_per_step: int
    keep: Callable[[int, Sequence[ScoredGroup]], None]
    log: Callable[[Mapping[str, float]], None]
    progress: Progress
    present: Round | None = None

    def __iter__(self) -> Iterator[list[Example]]:
        if self.sampler.caveat:
            self.progress.warning(f"sampler '{self.sampler.context.name}': {self.sampler.caveat}")
        if self.present is None:
            self.present = self._made(0, 0)
        else:
            self.sampler.restore(self.present.sampler)
        while True:
            if self.present.examples:
                yield self.present.examples
            self.sampler.observe(self.present.scored)
            if self.sampler.steps_per_round is None:
                return
            self.present = self._made(self.present.number + 1, self.present.without_signal)

    def _made(self, number: int, without_signal: int) -> Round:
        """The round of this number, after so many in a row without signal."""
        lasting = self.sampler.steps_per_round
        scored = self._scored(number, self.sampler.draw(lasting and lasting * self.groups_per_step))
        chosen = _checked(self.sampler, self.sampler.select(scored))
        without_signal = 0 if _has_signal(chosen) else without_signal + 1
        if without_signal and (lasting is None or without_signal >= _ROUNDS_WITHOUT_SIGNAL):
            raise _no_signal(scored, chosen, without_signal)
        figures = {f"sampler/{name}": value for name, value in self.sampler.statistics().items()}
        self.log(_figures(scored, chosen) | self.panel.statistics(scored) | self.panel.take_store_figures() | figures)
        examples = self._seen_by_reference(chosen) if chosen else []
        return Round(number, scored, examples, without_signal, self.sampler.state())

    def _scored(self, number: int, groups: Sequence[Group]) -> list[ScoredGroup]:
        groups, fit = self.policy.encode(groups)
        self._tell_what_did_not_fit(fit)
        if not groups:
            raise DataError("sampler: no group is left to train on. Raise policy.max_prompt_tokens, or give more data.")
        self.keep(number, [ScoredGroup(group, {}, ()) for group in groups])  # they stay if a reward source fails
        scored = self.panel.score(groups)
        self.keep(number, scored)
        return scored

    def _seen_by_reference(self, scored: Sequence[ScoredGroup]) -> list[Example]:
        with self.progress.phase("reference", total=len(scored), unit="groups") as phase:
            examples = self.reference.examples(scored, phase.advance)
        if figures := self.reference.take_figures():
            self.log(figures)
        return examples

    def _tell_what_did_not_fit(self, fit: EncodingReport) -> None:
        for count, what, remedy in (
            (fit.prompts_too_long, "prompts are longer than policy.max_prompt_tokens", "Their groups are left out."),
            (
                fit.completions_too_long,
                "completions are longer than policy.max_completion_tokens",
                "They are left out.",
            ),
            (fit.groups_too_small, "groups have fewer than two completions left", "They are left out."),
        ):
            if count:
                self.progress.warning(f"sampler: {count} {what}. {remedy}")


def _checked(sampler: Sampler, chosen: Sequence[ScoredGroup]) -> Sequence[ScoredGroup]:
    """What select() gave, if it is whole groups that were tokenised and scored."""
    for scored in chosen:
        completions = scored.group.completions
        if len(completions) != len(scored.rewards) or len(completions) < 2:
            fault = f"a group of {len(completions)} completions and {len(scored.rewards)} rewards"
        elif any(completion.token_ids is None for completion in completions):
            fault = "a completion without token ids, which was never in a scored group"
        else:
            continue
        raise PluginError(
            f"sampler '{sampler.context.name}', {scored.group.prompt.place}: select() gave {fault}. Give groups that it"
            " was given, now or in an earlier round."
        )
    return chosen


def _has_signal(scored: Sequence[ScoredGroup]) -> bool:
    return any(len(set(group.rewards)) > 1 for group in scored)


def _no_signal(scored: Sequence[ScoredGroup], chosen: Sequence[ScoredGroup], rounds: int) -> TrainingError:
    if not chosen:
        return TrainingError(
            f"sampler: it selected none of the {len(scored)} groups of a round, {rounds} in a row. Widen what it keeps."
        )
    return TrainingError(
        "rewards: within every group all completions have the same reward, so there is nothing to learn from."
        " Use a finer score, more completions per prompt, or a higher temperature."
    )


def _figures(scored: Sequence[ScoredGroup], chosen: Sequence[ScoredGroup]) -> dict[str, float]:
    """What a round looks like before training: counts, and rewards of all that was scored in it."""
    spreads = [statistics.stdev(group.rewards) for group in scored]
    rewards = [reward for group in scored for reward in group.rewards]
    return {
        "round/groups/count": len(scored),
        "round/groups/selected": len(chosen),
        "round/groups/without-signal": sum(spread == 0 for spread in spreads),
        "round/reward/mean": statistics.fmean(rewards),
        "round/reward/deviation": statistics.stdev(rewards),
        "round/reward/deviation-within-groups": statistics.fmean(spreads),
        "round/tokens/mean": statistics.fmean(
            len(completion.token_ids or ()) for group in scored for completion in group.group.completions
        ),
    }
