"""From groups to rewards: every source scores, the panel checks at the door, weighs and sums.

What a source returns is believed only after a look: one finite Score per completion, in order. A failure stays a
failure; it never becomes a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Literal

from copgkit.components import RewardSource
from copgkit.errors import CopgkitError, RewardError
from copgkit.progress import Progress
from copgkit.types import Completion, Group, Score, ScoredGroup

_GROUPS_PER_CALL = 128  # enough for a source to batch by length, few enough for progress to be seen


@dataclass(frozen=True)
class Judge:
    """One reward source with its weight in the reward and the name that metrics call it by."""

    label: str
    source: RewardSource
    weight: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """What the panel says of one completion. reward is None if a source failed or all of them abstained."""

    scores: dict[str, Score]
    reward: float | None
    failure: str | None = None


@dataclass
class Panel:
    """All reward sources of a run.

    on_failure: "stop" raises at the first failed score; "drop-completion" leaves the completion out and counts it.
    unfinished_penalty: added to the reward of a completion without end-of-sequence (usually negative).
    """

    judges: Sequence[Judge]
    on_failure: Literal["stop", "drop-completion"] = "stop"
    unfinished_penalty: float | None = None
    progress: Progress = field(default_factory=Progress)
    completions_dropped: int = 0
    groups_dropped: int = 0

    def score(self, groups: Sequence[Group]) -> list[ScoredGroup]:
        """Gives the groups with raw scores and rewards; without the completions that failed, if the recipe says so,
        and without groups that have fewer than two completions left."""
        kept = []
        for group, verdicts in zip(groups, self.judge(groups), strict=True):
            scored = self._keep(group, verdicts)
            if scored is None:
                self.groups_dropped += 1
            else:
                kept.append(scored)
        return kept

    def judge(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        """What the panel says of every completion, failures included; used by itself for evaluation."""
        by_label = {judge.label: self._ask(judge, groups) for judge in self.judges}
        return [
            [
                self._verdict(completion, {label: scores[g][k] for label, scores in by_label.items()})
                for k, completion in enumerate(group.completions)
            ]
            for g, group in enumerate(groups)
        ]

    def statistics(self, groups: Sequence[ScoredGroup]) -> dict[str, float]:
        """Means of the raw and of the weighted values of each source, by metric name."""
        figures: dict[str, float] = {}
        for judge in self.judges:
            scores = [score for group in groups for score in group.scores[judge.label]]
            values = [score.value for score in scores if score.value is not None]
            if values:
                figures[f"reward/{judge.label}/raw-mean"] = math.fsum(values) / len(values)
                figures[f"reward/{judge.label}/weighted-mean"] = judge.weight * math.fsum(values) / len(values)
            if len(values) < len(scores):
                figures[f"reward/{judge.label}/abstained"] = len(scores) - len(values)
        return figures

    def close(self) -> None:
        """Releases what the sources hold."""
        for judge in self.judges:
            judge.source.close()

    def _ask(self, judge: Judge, groups: Sequence[Group]) -> list[Sequence[Score]]:
        scores: list[Sequence[Score]] = []
        with self.progress.phase(f"score with {judge.label}", total=len(groups), unit="groups") as phase:
            for start in range(0, len(groups), _GROUPS_PER_CALL):
                chunk = groups[start : start + _GROUPS_PER_CALL]
                scores += _checked(judge.label, chunk, _call(judge, chunk))
                phase.advance(len(chunk))
        return scores

    def _verdict(self, completion: Completion, scores: dict[str, Score]) -> Verdict:
        failed = {label: score.failure for label, score in scores.items() if score.failure is not None}
        if failed:
            return Verdict(scores, None, "; ".join(f"'{label}' failed: {reason}" for label, reason in failed.items()))
        terms = [judge.weight * value for judge in self.judges if (value := scores[judge.label].value) is not None]
        if not terms:
            return Verdict(scores, None, "every source abstained")
        if self.unfinished_penalty is not None and not completion.finished:
            terms.append(self.unfinished_penalty)
        return Verdict(scores, math.fsum(terms))

    def _keep(self, group: Group, verdicts: Sequence[Verdict]) -> ScoredGroup | None:
        rewards = {k: verdict.reward for k, verdict in enumerate(verdicts) if verdict.reward is not None}
        keep = list(rewards)
        if len(keep) < len(verdicts):
            self._dropped(group, verdicts)
        if len(keep) < 2:
            return None
        scores = {judge.label: [verdicts[k].scores[judge.label] for k in keep] for judge in self.judges}
        return ScoredGroup(group.only(keep), scores, tuple(rewards.values()))

    def _dropped(self, group: Group, verdicts: Sequence[Verdict]) -> None:
        for k, verdict in enumerate(verdicts):
            if verdict.reward is not None:
                continue
            if self.on_failure == "stop":
                raise RewardError(
                    f"{group.prompt.place}, completion {k + 1} {_quote(group.completions[k])}: no reward: "
                    f"{verdict.failure}. Mend the source, or say `scoring: {{on_failure: drop-completion}}`."
                )
            self.completions_dropped += 1


def _call(judge: Judge, groups: Sequence[Group]) -> list[Sequence[Score]]:
    try:
        return list(judge.source.score_groups(groups))
    except CopgkitError:
        raise
    except Exception as error:
        place = _culprit(judge, groups)
        raise RewardError(f"{place}: {type(error).__name__}: {error}. Mend the source; --debug shows where.") from error


def _culprit(judge: Judge, groups: Sequence[Group]) -> str:
    """Names the first completion that the source cannot score by itself, found by asking again one by one."""
    for group in groups:
        for k, completion in enumerate(group.completions):
            try:
                judge.source.score([completion])
            except Exception:
                return f"reward source '{judge.label}', {group.prompt.place}, completion {k + 1} {_quote(completion)}"
    return f"reward source '{judge.label}' (on a batch; no single completion raises)"


def _checked(label: str, groups: Sequence[Group], scores: list[Sequence[Score]]) -> list[Sequence[Score]]:
    if len(scores) != len(groups):
        raise RewardError(f"reward source '{label}' returned scores of {len(scores)} groups for {len(groups)}.")
    plain: list[Sequence[Score]] = []
    for group, row in zip(groups, scores, strict=True):
        if len(row) != len(group.completions):
            raise RewardError(
                f"reward source '{label}' returned {len(row)} scores for {len(group.completions)} completions of"
                f" {group.prompt.place}. One score per completion, in order."
            )
        for k, score in enumerate(row):
            fault = _fault(score)
            if fault:
                raise RewardError(
                    f"reward source '{label}', {group.prompt.place}, completion {k + 1} {_quote(group.completions[k])}:"
                    f" {fault}. Give a finite number, Score.abstain() or Score.failed(reason)."
                )
        plain.append([score if score.value is None else replace(score, value=float(score.value)) for score in row])
    return plain


def _fault(score: object) -> str | None:
    if not isinstance(score, Score):
        return f"returned {type(score).__name__} instead of a Score"
    if score.value is None:
        return None
    if isinstance(score.value, bool) or not isinstance(score.value, Real):
        return f"the score's value is {type(score.value).__name__} {score.value!r}, not a number"
    return None if score.is_finite else f"the score is {score.value}"


def _quote(completion: Completion) -> str:
    text = completion.text.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")
