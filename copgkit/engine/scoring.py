"""From groups to rewards: every source scores, the panel sums what its judges make of the scores.

    reward = sum over the sources of weight * (scale * clip(raw) + shift)  (+ unfinished_penalty)

A failure stays a failure; it never becomes a number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from copgkit.components import RewardSource
from copgkit.engine import ranks
from copgkit.engine.asking import Asker
from copgkit.engine.judge import Judge
from copgkit.engine.score_checks import quote
from copgkit.errors import RewardError
from copgkit.progress import Progress
from copgkit.types import Completion, Group, Score, ScoredGroup

LARGEST_REWARD = 1e15  # the square of a larger one, over a small beta, is infinite in 32 bits
_REASONS_SHOWN, _REASONS_KEPT = 3, 20


@dataclass(frozen=True)
class Verdict:
    """What the panel says of one completion. reward is None if a source failed or all of them abstained."""

    scores: dict[str, Score]
    reward: float | None
    failure: str | None = None


@dataclass
class Panel:
    """All reward sources of a run.

    on_failure: "stop" raises at the first completion without a reward; "drop-completion" leaves it out, "drop-group"
    its whole group, whether a source says that it failed, raises, or gives a number that is not finite.
    max_failed_share: the share of failed scores of one source in one call of `score` beyond which it raises although
    failures are dropped. unfinished_penalty: added to the reward of a completion without end-of-sequence (usually
    negative). timeout_seconds: of one call of a source; None waits for ever.
    """

    judges: Sequence[Judge]
    on_failure: Literal["stop", "drop-completion", "drop-group"] = "stop"
    unfinished_penalty: float | None = None
    progress: Progress = field(default_factory=Progress)
    max_failed_share: float = 1.0
    timeout_seconds: float | None = None
    completions_dropped: int = 0
    groups_dropped: int = 0

    def __post_init__(self) -> None:
        self.failures: Counter[str] = Counter()  # why completions had no reward, over the run
        self._failed: dict[str, int] = {}
        self.askers = [
            Asker(
                judge.label, judge.source, judge.shelf, self.progress, self.timeout_seconds, self.on_failure != "stop"
            )
            for judge in self.judges
        ]

    def score(self, groups: Sequence[Group]) -> list[ScoredGroup]:
        """Gives the groups with raw scores and rewards; without the completions or groups that failed, if the recipe
        says so, and without groups that have fewer than two completions left."""
        verdicts = self.judge(groups)
        if self.on_failure != "stop":
            self._count_failures([verdict for row in verdicts for verdict in row])
        kept = [scored for group, row in zip(groups, verdicts, strict=True) if (scored := self._keep(group, row))]
        self.groups_dropped += len(groups) - len(kept)
        if groups and not kept:
            raise RewardError(
                f"rewards: none of {len(groups)} groups is left to train on: {_counted(self.failures)}."
                " Mend the source, or look at what it is asked about."
            )
        return kept

    def judge(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        """What the panel says of every completion, failures included; used by itself for evaluation.

        Several processes share the work; groups of one prompt stay together, so that equal completions are asked about
        once.
        """
        return ranks.share_out(groups, self._judge, like=lambda group: group.prompt.content_key)

    def _judge(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        by_label = {asker.label: asker.ask(groups) for asker in self.askers}
        return [
            [
                self._verdict(completion, {label: scores[g][k] for label, scores in by_label.items()})
                for k, completion in enumerate(group.completions)
            ]
            for g, group in enumerate(groups)
        ]

    def scored(self, group: Group, verdicts: Sequence[Verdict]) -> ScoredGroup:
        """A group with everything that the panel says of it; without rewards if one of its completions has none."""
        scores = {judge.label: [verdict.scores[judge.label] for verdict in verdicts] for judge in self.judges}
        rewards = tuple(verdict.reward for verdict in verdicts if verdict.reward is not None)
        return ScoredGroup(
            group,
            scores,
            rewards if len(rewards) == len(verdicts) else (),
            {one.label: [one.mapped(score) for score in scores[one.label]] for one in self.judges if one.maps},
            {one.label: [one.weighted(score) for score in scores[one.label]] for one in self.judges if one.weight != 1},
        )

    def statistics(self, groups: Sequence[ScoredGroup]) -> dict[str, float]:
        """The figures of every source over scored groups, and how many of its scores failed in the last call of
        `score`, by metric name."""
        figures = {name: value for judge in self.judges for name, value in judge.figures(groups).items()}
        return figures | {f"reward/{label}/failed": count for label, count in self._failed.items()}

    def take_store_figures(self) -> dict[str, float]:
        """Scores from the store and scores asked for since this was last called, by metric name."""
        return ranks.summed({name: value for asker in self.askers for name, value in asker.take_figures().items()})

    def record(self) -> dict[str, Any]:
        """What is worth remembering of a run's scoring: what was dropped and why, and what the store spared."""
        return {
            "completions_dropped": self.completions_dropped,
            "groups_dropped": self.groups_dropped,
            "failures": dict(self.failures.most_common(_REASONS_KEPT)),
            "scores": {one.label: ranks.summed({"from-store": one.spared, "asked": one.asked}) for one in self.askers},
        }

    def state(self) -> dict[str, Any]:
        """What was dropped so far and why; plain JSON data."""
        return {
            "completions_dropped": self.completions_dropped,
            "groups_dropped": self.groups_dropped,
            "failures": dict(self.failures),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on counting."""
        self.completions_dropped, self.groups_dropped = state["completions_dropped"], state["groups_dropped"]
        self.failures = Counter(state["failures"])

    def release(self) -> list[str]:
        """Lets the sources free what they can have again, and gives the labels of those that do so."""
        able = [asker for asker in self.askers if type(asker.source).release is not RewardSource.release]
        for asker in able:
            asker.source.release()
        return [asker.label for asker in able]

    def close(self) -> None:
        """Releases what the sources hold; not of one that still hangs in a call."""
        for asker in self.askers:
            if not asker.hangs:
                asker.source.close()

    def _verdict(self, completion: Completion, scores: dict[str, Score]) -> Verdict:
        failed = {label: score.failure for label, score in scores.items() if score.failure is not None}
        if failed:
            return Verdict(scores, None, "; ".join(f"'{label}' failed: {reason}" for label, reason in failed.items()))
        terms = [term for judge in self.judges if (term := judge.weighted(scores[judge.label])) is not None]
        if not terms:
            return Verdict(scores, None, "every source abstained")
        if self.unfinished_penalty is not None and not completion.finished:
            terms.append(self.unfinished_penalty)
        if not all(abs(term) <= LARGEST_REWARD for term in terms):
            fault = f"its reward is the sum of {terms}, and training cannot work with numbers beyond {LARGEST_REWARD:g}"
            if self.on_failure == "stop":
                place = f"{completion.prompt.place}, completion {quote(completion)}"
                raise RewardError(f"{place}: {fault}. Give the source a `clip`.")
            return Verdict(scores, None, fault)
        return Verdict(scores, math.fsum(terms))

    def _keep(self, group: Group, verdicts: Sequence[Verdict]) -> ScoredGroup | None:
        rewards = {k: verdict.reward for k, verdict in enumerate(verdicts) if verdict.reward is not None}
        keep = list(rewards)
        if len(keep) < len(verdicts):
            self._dropped(group, verdicts)
        if len(keep) < 2 or (len(keep) < len(verdicts) and self.on_failure == "drop-group"):
            return None
        return self.scored(group.only(keep), [verdicts[k] for k in keep])

    def _dropped(self, group: Group, verdicts: Sequence[Verdict]) -> None:
        for k, verdict in enumerate(verdicts):
            if verdict.reward is not None:
                continue
            if self.on_failure == "stop":
                raise RewardError(
                    f"{group.prompt.place}, completion {k + 1} {quote(group.completions[k])}: no reward: "
                    f"{verdict.failure}. Mend the source, or say `scoring: {{on_failure: drop-completion}}`."
                )
            self.completions_dropped += 1

    def _count_failures(self, verdicts: Sequence[Verdict]) -> None:
        """Counts what failed and why. Raises RewardError if it is too much of what one source was asked."""
        self._failed = {}
        self.failures.update(verdict.failure for verdict in verdicts if verdict.failure is not None)
        for judge in self.judges:
            failures = [verdict.scores[judge.label].failure for verdict in verdicts]
            reasons = Counter(reason for reason in failures if reason is not None)
            if reasons.total() > self.max_failed_share * len(failures):
                raise RewardError(
                    f"reward source '{judge.label}': {reasons.total()} of {len(failures)} scores failed, more than"
                    f" scoring.max_failed_share = {self.max_failed_share:g} allows: {_counted(reasons)}."
                    " Mend the source, or raise the share."
                )
            if reasons:
                self._failed[judge.label] = reasons.total()


def _counted(reasons: Counter[str]) -> str:
    """The most frequent reasons with their numbers."""
    shown = [f"{reason} ({count} times)" for reason, count in reasons.most_common(_REASONS_SHOWN)]
    rest = len(reasons) - len(shown)
    return "; ".join(shown) + (f"; {rest} other reasons" if rest > 0 else "")
