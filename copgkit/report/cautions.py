"""Warnings about scored groups, before anything is trained on them. `health.py` warns of what shows in training.

Each rule is one function with its threshold at the top. Before every text stands the rule's name and a colon.
"""

from __future__ import annotations

from collections.abc import Callable

from copgkit.report.choosing_beta import advise_beta
from copgkit.report.inspection import OUTLIER_DEVIATIONS, Inspection

NATS_PER_TOKEN = 1.0
NATS_ALWAYS = 5.0  # so many have room in the shortest completion: a single token may be one of thousands
NATS_TOO_FEW = 0.1  # the optimum is then half a hundredth of a nat from the reference
WITHOUT_SIGNAL = 0.5
UNFINISHED = 0.2
REPEATED = 0.75  # repetition costs time alone: the loss counts each as often as it is drawn
EMPTY = 0.02
LENGTH_CORRELATION = 0.7  # half of the variance
RANK_CORRELATION = -0.2
HEAVY = 0.3
COMPLETIONS_JUDGED = 50  # fewer say nothing about shares and correlations
PAIRS_JUDGED = 50


def cautions(inspection: Inspection) -> list[str]:
    """Plain warnings with advice; none for sound groups."""
    return [warning for rule in _RULES if (warning := rule(inspection)) is not None]


def _scale(found: Inspection) -> str | None:
    """The optimum would need larger log-ratios than sequences of this length have room for, or next to none."""
    nats, each, advice = found.nats, found.nats_per_token, advise_beta(found)
    if nats is None or each is None or advice is None:
        return None
    if each > NATS_PER_TOKEN and nats > NATS_ALWAYS:
        return (
            f"beta: with beta = {found.beta:g} the optimum would move completions of one prompt apart by {nats:.0f}"
            f" nats (the rewards' deviation over beta), {each:.1f} a {found.unit[:-1]}. Expect collapse: raise beta;"
            f" {advice.beta:g} is one to begin with."
        )
    if nats < NATS_TOO_FEW:
        return (
            f"beta: with beta = {found.beta:g} the optimum moves completions of one prompt apart by {nats:.2g} nats"
            " (the rewards' deviation over beta), so that the policy hardly differs from the reference. Lower beta;"
            f" {advice.beta:g} is one to begin with."
        )
    return None


def _signal(found: Inspection) -> str | None:
    if found.signal.groups_without < WITHOUT_SIGNAL:
        return None
    return (
        f"signal: in {found.signal.groups_without:.0%} of the groups all completions have the same reward, which"
        " teaches nothing. Use a finer score, more completions per prompt, a higher temperature, or the sampler"
        " 'difficulty'."
    )


def _unfinished(found: Inspection) -> str | None:
    if found.form.unfinished < UNFINISHED:
        return None
    return (
        f"truncation: {found.form.unfinished:.0%} of the completions were stopped at the length limit, and are scored"
        " as they are. Raise policy.max_completion_tokens, or set scoring.unfinished_penalty."
    )


def _repeated(found: Inspection) -> str | None:
    if found.form.repeated < REPEATED or found.completions < COMPLETIONS_JUDGED:
        return None
    return (
        f"duplicates: {found.form.repeated:.0%} of the completions repeat another one of their group, and contrast"
        " nothing with it. Raise the temperature, or draw fewer."
    )


def _empty(found: Inspection) -> str | None:
    if found.form.empty < EMPTY or found.completions < COMPLETIONS_JUDGED:
        return None
    return (
        f"empty: {found.form.empty:.0%} of the completions have no text. See what they are scored, and whether prompts"
        " or stop texts end them at once; the reward source 'format' can forbid them."
    )


def _length(found: Inspection) -> str | None:
    correlation, slope = found.length.correlation, found.length.slope
    if correlation is None or slope is None or found.completions < COMPLETIONS_JUDGED:
        return None
    if abs(correlation) < LENGTH_CORRELATION:
        return None
    return (
        f"length: within groups, {correlation**2:.0%} of the reward's variance is length (correlation"
        f" {correlation:+.2f}, {slope:+.2g} for one more {found.unit[:-1]}). The policy will learn to write"
        f" {'longer' if slope > 0 else 'shorter'}: add the reward source 'length' if that is not what you want."
    )


def _disagreement(found: Inspection) -> str | None:
    opposed = [
        pair
        for pair in found.agreements
        if pair.rank_correlation is not None
        and pair.rank_correlation <= RANK_CORRELATION
        and pair.pairs >= PAIRS_JUDGED
    ]
    if not opposed:
        return None
    worst = min(opposed, key=lambda pair: pair.rank_correlation or 0.0)
    return (
        f"sources: '{worst.one}' and '{worst.other}' rank completions of one prompt against each other (rank"
        f" correlation {worst.rank_correlation:+.2f} over {worst.pairs:,} pairs). Their weights decide which one wins:"
        " see that this is the exchange you want."
    )


def _heavy(found: Inspection) -> str | None:
    if found.heaviest_share is None or found.heaviest_share < HEAVY:
        return None
    example = f" (the furthest: {found.outliers[0].place}, reward {found.outliers[0].reward:.3g})"
    return (
        f"outliers: 1 % of the groups hold {found.heaviest_share:.0%} of the squared spread of rewards, which the loss"
        f" follows; {len(found.outliers)} rewards are more than {OUTLIER_DEVIATIONS:.0f} robust deviations from their"
        f" group's mean{example if found.outliers else ''}. Read them; rewards[].clip or objective.clip tames them."
    )


_RULES: tuple[Callable[[Inspection], str | None], ...] = (
    _scale,
    _signal,
    _unfinished,
    _repeated,
    _empty,
    _length,
    _disagreement,
    _heavy,
)
