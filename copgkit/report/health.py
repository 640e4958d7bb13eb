"""Warnings about a run, from its metrics: collapse, over-optimisation, and data that asks for more than is there.

Each rule is one function with its threshold at the top. They look at evaluations by generation, because the training
loss and residual go on falling while a policy collapses (the paper, section 6: too small a beta does not show in the
validation loss).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from copgkit.report.summary import Interval, evaluations, figures_of

Row = Mapping[str, float]
Figures = Mapping[str, Interval]

KL_LARGE = 25.0  # nats per completion; a best-of-1000 sample has ln 1000 - 1 = 5.9
LENGTH_FACTOR = 1.5
FINISHED_DROP = 0.1
NATS_PER_TOKEN = 1.0


def diagnose(rows: Sequence[Row], beta: float | None = None) -> list[str]:
    """Plain warnings with advice; none for a sound run. beta: the run's, for the rule about the reward's scale."""
    held = [figures_of(row) for row in evaluations(rows)]
    found = [rule(held[0], held[-1], held) for rule in _RULES] if len(held) > 1 else []
    found.append(_scale(rows, beta))
    return [warning for warning in found if warning]


def _collapse(first: Figures, last: Figures, held: Sequence[Figures]) -> str | None:
    """The policy's own completions score clearly worse than the reference's."""
    before, after = first.get("reward/mean"), last.get("reward/mean")
    if before is None or after is None or after.high >= before.low:
        return None
    return (
        f"collapse: the reward of generated completions fell from {before.value:.3f} to {after.value:.3f}, below the"
        " reference's, while training went on. beta is too small for this data, or the learning rate too high."
    )


def _past_the_peak(first: Figures, last: Figures, held: Sequence[Figures]) -> str | None:
    """The generated reward has been clearly better at an earlier evaluation."""
    rewards = [figures["reward/mean"] for figures in held if "reward/mean" in figures]
    if len(rewards) < 3:
        return None
    best = max(rewards, key=lambda reward: reward.value)
    if rewards[-1].high >= best.low:
        return None
    return (
        f"over-optimisation: the generated reward was {best.value:.3f} at an earlier evaluation and is now"
        f" {rewards[-1].value:.3f}. Train for fewer steps or raise beta."
    )


def _reward_hacking(first: Figures, last: Figures, held: Sequence[Figures]) -> str | None:
    """A measure that no reward sees falls clearly while the reward rises."""
    before, after = first.get("reward/mean"), last.get("reward/mean")
    if before is None or after is None or after.value <= before.value:
        return None
    for name in sorted(first.keys() & last.keys()):
        independent = name.startswith(("faithful/", "rouge/"))
        best = max((figures[name] for figures in held if name in figures), key=lambda figure: figure.value)
        if independent and last[name].high < best.low:
            return (
                f"over-optimisation: '{name}', which no reward sees, fell from {best.value:.3f} to"
                f" {last[name].value:.3f} while the reward rose. The policy has found the reward's gaps: raise beta."
            )
    return None


def _far_away(first: Figures, last: Figures, held: Sequence[Figures]) -> str | None:
    """The policy has left the reference."""
    kl = last.get("kl/mean")
    if kl is None or kl.value <= KL_LARGE:
        return None
    return (
        f"KL: the policy is {kl.value:.1f} nats per completion away from the reference (more than {KL_LARGE:.0f})."
        " A learned reward is rarely right that far out: raise beta, and read the samples."
    )


def _length(first: Figures, last: Figures, held: Sequence[Figures]) -> str | None:
    """Completions became much longer or shorter."""
    before, after = first.get("length/mean"), last.get("length/mean")
    if before is None or after is None or not before.value:
        return None
    if 1 / LENGTH_FACTOR <= after.value / before.value <= LENGTH_FACTOR:
        return None
    return (
        f"length: completions went from {before.value:.1f} to {after.value:.1f} words. The reward may prefer a length"
        " rather than a content."
    )


def _endings(first: Figures, last: Figures, held: Sequence[Figures]) -> str | None:
    """Completions no longer end by themselves."""
    before, after = first.get("finished/share"), last.get("finished/share")
    if before is None or after is None or after.value >= before.value - FINISHED_DROP:
        return None
    return (
        f"endings: {after.value:.0%} of the completions end by themselves, {before.value:.0%} did before. Set"
        " scoring.unfinished_penalty."
    )


_RULES: tuple[Callable[[Figures, Figures, Sequence[Figures]], str | None], ...] = (
    _collapse,
    _past_the_peak,
    _reward_hacking,
    _far_away,
    _length,
    _endings,
)


def _scale(rows: Sequence[Row], beta: float | None) -> str | None:
    """The optimum would need larger log-ratios than sequences of this length have room for."""
    row = next((row for row in rows if "round/reward/deviation-within-groups" in row), None)
    if row is None or not beta or "round/tokens/mean" not in row:
        return None
    nats = row["round/reward/deviation-within-groups"] / beta
    tokens = row["round/tokens/mean"]
    if nats <= NATS_PER_TOKEN * tokens:
        return None
    return (
        f"beta: with beta = {beta:g} the optimum would move completions of one prompt apart by {nats:.0f} nats (the"
        f" rewards' deviation over beta), {nats / tokens:.1f} a token. Expect collapse: raise beta"
        f" to {row['round/reward/deviation-within-groups'] / (NATS_PER_TOKEN * tokens) * 2:.2g} or more."
    )
