"""What scored groups look like before anything is trained on them: signal, scale, form, and what the reward pays for.

    inspection = inspect_groups(groups, beta=0.5)
    inspection.reward.within, inspection.nats, inspection.length

Whatever is common to a group cancels in the loss, so that spreads and correlations are taken within groups: of what
lies above or below the group's own mean. No torch; a pass over 4,096 completions takes about a tenth of a second.
What to think of the figures stands in `cautions.py` and `choosing_beta.py`.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from copgkit.errors import DataError
from copgkit.types import ScoredGroup

OUTLIER_DEVIATIONS = 6.0  # robust ones; of rewards like a bell curve, two in a thousand million lie further out
HEAVIEST = 0.01  # the share of groups whose part in the squared spread is looked at
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class RewardFacts:
    """mean and deviation over all completions. within: mean of the groups' standard deviations; spread: mean of best
    minus worst; rms: root mean square of the deviations from the group's mean."""

    mean: float
    deviation: float
    within: float
    spread: float
    rms: float


@dataclass(frozen=True)
class SignalFacts:
    """groups_without: share of groups in which all rewards are equal. tied_pairs: share of the contrasted pairs with
    equal rewards, which say nothing."""

    groups_without: float
    tied_pairs: float


@dataclass(frozen=True)
class FormFacts:
    """Shares of completions: cut off at a length limit, the same text as another of their group, without any text.
    prompts_repeated: share of groups whose prompt has come before."""

    unfinished: float
    repeated: float
    empty: float
    prompts_repeated: float


@dataclass(frozen=True)
class LengthFacts:
    """correlation of reward and length within groups (None where one of them does not vary), and slope: reward for one
    more token or word."""

    correlation: float | None
    slope: float | None


@dataclass(frozen=True)
class SourceFacts:
    """A reward source: shares of its scores that abstained or failed, deviation of its terms within groups, and share:
    its part in the variance of the reward within groups. Parts sum to 1 with that of the penalty for unfinished
    completions; one is negative where the others overrule the source."""

    name: str
    abstained: float
    failed: float
    within: float
    share: float | None


@dataclass(frozen=True)
class Agreement:
    """Whether two sources rank completions of one prompt alike. rank_correlation: (alike - opposite) / pairs, over the
    pairs on which both differ (Goodman and Kruskal's gamma, pooled over groups): 1 always alike, -1 always opposite."""

    one: str
    other: str
    pairs: int
    rank_correlation: float | None


@dataclass(frozen=True)
class Outlier:
    """A completion whose reward lies far from its group's mean. deviations: how far, in robust standard deviations."""

    place: str
    completion: int
    reward: float
    deviations: float


@dataclass(frozen=True)
class Inspection:
    """The figures of a set of scored groups. unit: what lengths are counted in, "tokens" or, where there are no ids,
    "words". heaviest_share: part of the groups' squared spread that the heaviest 1 % of groups hold; None below 100."""

    groups: int
    completions: int
    unit: str
    mean_length: float
    reward: RewardFacts
    signal: SignalFacts
    form: FormFacts
    length: LengthFacts
    sources: tuple[SourceFacts, ...]
    agreements: tuple[Agreement, ...]
    outliers: tuple[Outlier, ...]
    heaviest_share: float | None
    beta: float | None = None

    @property
    def nats(self) -> float | None:
        """How far apart the optimum moves completions of one prompt: their rewards' deviation over beta."""
        return self.reward.within / self.beta if self.beta else None

    @property
    def nats_per_token(self) -> float | None:
        """The same for each token of a mean completion (or word, see unit)."""
        return None if self.nats is None or not self.mean_length else self.nats / self.mean_length


def inspect_groups(groups: Iterable[ScoredGroup], beta: float | None = None) -> Inspection:
    """The figures of these groups. beta: the objective's, which rewards are held against; None or 0 leaves that out.

    Raises DataError if there are none, or if one has no reward for each of its completions.
    """
    scored = list(groups)
    _require_rewards(scored)
    rewards = [reward for group in scored for reward in group.rewards]
    above = [value for group in scored for value in _centred(group.rewards)]
    in_tokens = all(one.token_ids is not None for group in scored for one in group.group.completions)
    lengths = [_lengths(group, in_tokens) for group in scored]
    return Inspection(
        groups=len(scored),
        completions=len(rewards),
        unit="tokens" if in_tokens else "words",
        mean_length=statistics.fmean(length for row in lengths for length in row),
        reward=RewardFacts(
            statistics.fmean(rewards),
            statistics.pstdev(rewards),
            statistics.fmean(statistics.stdev(group.rewards) for group in scored),
            statistics.fmean(max(group.rewards) - min(group.rewards) for group in scored),
            _rms(above),
        ),
        signal=_signal(scored),
        form=_form(scored),
        length=_length_facts([value for row in lengths for value in _centred(row)], above),
        sources=tuple(_source(name, scored, above) for name in _names(scored)),
        agreements=tuple(_agreement(scored, *pair) for pair in combinations(_names(scored), 2)),
        outliers=_outliers(scored, above),
        heaviest_share=_heaviest_share(scored),
        beta=beta or None,
    )


def centred_rewards(groups: Sequence[ScoredGroup]) -> list[float]:
    """Every reward less the mean of its group, in order."""
    return [value for group in groups for value in _centred(group.rewards)]


def length_of(groups: Sequence[ScoredGroup]) -> list[float]:
    """Every completion's length less the mean of its group, in the order of centred_rewards."""
    in_tokens = all(one.token_ids is not None for group in groups for one in group.group.completions)
    return [value for group in groups for value in _centred(_lengths(group, in_tokens))]


def _require_rewards(scored: Sequence[ScoredGroup]) -> None:
    if not scored:
        raise DataError("inspect: there are no groups. Give a file that has some.")
    for group in scored:
        if len(group.rewards) != len(group.group.completions) or len(group.rewards) < 2:
            raise DataError(
                f"{group.group.prompt.place}: {len(group.group.completions)} completions and {len(group.rewards)}"
                " rewards. A group needs two completions, and a reward for each: `copgkit score` adds them."
            )


def _centred(values: Sequence[float]) -> list[float]:
    mean = statistics.fmean(values)
    return [value - mean for value in values]


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(statistics.fmean(value * value for value in values))


def _lengths(group: ScoredGroup, in_tokens: bool) -> list[int]:
    return [len(one.token_ids or ()) if in_tokens else len(one.text.split()) for one in group.group.completions]


def _signal(scored: Sequence[ScoredGroup]) -> SignalFacts:
    pairs = tied = 0
    for group in scored:
        weights = group.group.pair_weights
        for i, j in combinations(range(len(group.rewards)), 2):
            if weights is None or weights[i][j] > 0:
                pairs += 1
                tied += group.rewards[i] == group.rewards[j]
    without = sum(len(set(group.rewards)) == 1 for group in scored)
    return SignalFacts(without / len(scored), tied / pairs if pairs else 1.0)


def _form(scored: Sequence[ScoredGroup]) -> FormFacts:
    completions = [one for group in scored for one in group.group.completions]
    repeated = sum(
        len(group.group.completions) - len({one.text for one in group.group.completions}) for group in scored
    )
    prompts = Counter(group.group.prompt.content_key for group in scored)
    return FormFacts(
        sum(not one.finished for one in completions) / len(completions),
        repeated / len(completions),
        sum(not one.text.strip() for one in completions) / len(completions),
        1 - len(prompts) / len(scored),
    )


def _length_facts(lengths: Sequence[float], above: Sequence[float]) -> LengthFacts:
    spread, reward_spread = _rms(lengths), _rms(above)
    if not spread or not reward_spread:
        return LengthFacts(None, None)
    together = statistics.fmean(length * value for length, value in zip(lengths, above, strict=True))
    return LengthFacts(together / (spread * reward_spread), together / spread**2)


def _names(scored: Sequence[ScoredGroup]) -> list[str]:
    """The sources that all groups have."""
    return [name for name in scored[0].scores if all(name in group.scores for group in scored)]


def _source(name: str, scored: Sequence[ScoredGroup], above: Sequence[float]) -> SourceFacts:
    scores = [score for group in scored for score in group.scores[name]]
    terms = [value for group in scored for value in _centred([term or 0.0 for term in group.terms(name)])]
    spread = _rms(above) ** 2
    together = statistics.fmean(term * value for term, value in zip(terms, above, strict=True))
    return SourceFacts(
        name,
        sum(score.value is None and score.failure is None for score in scores) / len(scores),
        sum(score.failure is not None for score in scores) / len(scores),
        _rms(terms),
        together / spread if spread else None,
    )


def _agreement(scored: Sequence[ScoredGroup], one: str, other: str) -> Agreement:
    alike = opposite = 0
    for group in scored:
        for (a, b), (c, d) in combinations(zip(group.terms(one), group.terms(other), strict=True), 2):
            if a is None or b is None or c is None or d is None:
                continue
            product = (a - c) * (b - d)
            alike += product > 0
            opposite += product < 0
    pairs = alike + opposite
    return Agreement(one, other, pairs, (alike - opposite) / pairs if pairs else None)


def _outliers(scored: Sequence[ScoredGroup], above: Sequence[float]) -> tuple[Outlier, ...]:
    """The furthest first; none where more than half of the rewards equal their group's mean, which leaves no scale."""
    scale = _MAD_TO_DEVIATION * statistics.median(map(abs, above))
    if not scale:
        return ()
    places = [(group.group.prompt.place, k + 1, reward) for group in scored for k, reward in enumerate(group.rewards)]
    found = [
        Outlier(*place, value / scale)
        for place, value in zip(places, above, strict=True)
        if abs(value) > OUTLIER_DEVIATIONS * scale
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.deviations)))


def _heaviest_share(scored: Sequence[ScoredGroup]) -> float | None:
    count = int(HEAVIEST * len(scored))
    squares = sorted((statistics.variance(group.rewards) for group in scored), reverse=True)
    total = sum(squares)
    return sum(squares[:count]) / total if count and total > 0 else None
