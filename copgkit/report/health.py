"""Warnings about a run, from its metrics and samples: collapse, over-optimisation, drift. `cautions.py` warns of what
shows in the scored groups, before training.

Each rule is one function with its threshold at the top. They look at evaluations by generation, because the training
loss and residual go on falling while a policy collapses (the paper, section 6: too small a beta does not show in the
validation loss). Before every text stands the rule's name and a colon.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from copgkit.report.summary import Interval, evaluations, figures_of
from copgkit.types import Sample

Row = Mapping[str, float]
Figures = Mapping[str, Interval]

KL_LARGE = 25.0  # nats per completion; a best-of-1000 sample has ln 1000 - 1 = 5.9
KL_SPENT = 5.0  # nats in the later half of a run from which on they must have bought something
LENGTH_FACTOR = 1.5
FINISHED_DROP = 0.1
GRADIENT_FACTOR = 10.0
STEPS_JUDGED = 20  # fewer logged steps say nothing about gradients
SAME_SHARE = 0.3
PROMPTS_JUDGED = 10  # fewer prompts say nothing about repetition
UNSEEN_BY_REWARDS = ("faithful/", "rouge/")


def diagnose(
    rows: Sequence[Row], samples: Sequence[Sample] = (), reference_samples: Sequence[Sample] = ()
) -> list[str]:
    """Plain warnings with advice; none for a sound run.

    samples: those of the last evaluation and the reference's for the same prompts, for the rule about repetition.
    """
    held = [figures_of(row) for row in evaluations(rows)]
    found = [rule(held[0], held[-1], held) for rule in _RULES] if len(held) > 1 else []
    found += [_unseen_collapse(rows), _gradients(rows), _sameness(samples, reference_samples)]
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
    """The generated reward has been clearly better at an evaluation after the start."""
    rewards = [figures["reward/mean"] for figures in held[1:] if "reward/mean" in figures]
    if len(rewards) < 2:
        return None
    best = max(rewards, key=lambda reward: reward.value)
    if rewards[-1].high >= best.low:
        return None
    return (
        f"past the peak: the generated reward was {best.value:.3f} at an earlier evaluation and is now"
        f" {rewards[-1].value:.3f}. Train for fewer steps or raise beta."
    )


def _over_optimisation(first: Figures, last: Figures, held: Sequence[Figures]) -> str | None:
    """A measure that no reward sees falls clearly while the reward rises."""
    before, after = first.get("reward/mean"), last.get("reward/mean")
    if before is None or after is None or after.value <= before.value:
        return None
    for name in sorted(first.keys() & last.keys()):
        best = max((figures[name] for figures in held if name in figures), key=lambda figure: figure.value)
        if name.startswith(UNSEEN_BY_REWARDS) and last[name].high < best.low:
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


def _nothing_bought(first: Figures, last: Figures, held: Sequence[Figures]) -> str | None:
    """The later half of the run went far and brought no reward."""
    path = [figures for figures in held if "kl/mean" in figures and "reward/mean" in figures]
    if len(path) < 3:
        return None
    half, end = path[len(path) // 2], path[-1]
    spent = end["kl/mean"].value - half["kl/mean"].value
    gained = end["reward/mean"].value - half["reward/mean"].value
    if spent < KL_SPENT or gained > 0:
        return None
    return (
        f"KL without gain: in the later half of the run the KL grew by {spent:.1f} nats and the reward by {gained:.3f}."
        " Stop earlier or raise beta."
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
    _over_optimisation,
    _far_away,
    _nothing_bought,
    _length,
    _endings,
)


def _unseen_collapse(rows: Sequence[Row]) -> str | None:
    """The residual on the training data got better between two evaluations and the generated reward clearly worse."""
    held = [row for row in evaluations(rows) if "eval/reward/mean" in row]
    residuals = [row for row in rows if "train/residual/rms" in row]
    if len(held) < 2 or not residuals:
        return None
    best, last = max(held, key=lambda row: row["eval/reward/mean"]), held[-1]
    early = [row["train/residual/rms"] for row in residuals if row["step"] <= max(best["step"], residuals[0]["step"])]
    before, after = figures_of(best)["reward/mean"], figures_of(last)["reward/mean"]
    if after.high >= before.low or residuals[-1]["train/residual/rms"] >= early[-1]:
        return None
    return (
        f"the loss does not show it: the residual on the training data fell from {early[-1]:.3f} to"
        f" {residuals[-1]['train/residual/rms']:.3f} while the reward of generated completions fell from"
        f" {before.value:.3f} to {after.value:.3f}. Judge this run by what it generates; raise beta."
    )


def _gradients(rows: Sequence[Row]) -> str | None:
    """The typical gradient of the last quarter is far larger than that of the first."""
    norms = [row["train/gradient-norm/value"] for row in rows if "train/gradient-norm/value" in row]
    if len(norms) < STEPS_JUDGED:
        return None
    quarter = len(norms) // 4
    early, late = statistics.median(norms[:quarter]), statistics.median(norms[-quarter:])
    if late <= GRADIENT_FACTOR * early:
        return None
    return (
        f"gradients: their norm rose from {early:.3g} to {late:.3g} (medians of the first and last quarter). Lower the"
        " learning rate or set objective.clip."
    )


def _sameness(samples: Sequence[Sample], reference_samples: Sequence[Sample]) -> str | None:
    """One and the same completion answers many different prompts, and did not before."""
    if len({sample.completion.prompt.text for sample in samples}) < PROMPTS_JUDGED:
        return None
    share, before = _commonest(samples), _commonest(reference_samples)
    if share < SAME_SHARE or share < 2 * before:
        return None
    return (
        f"repetition: {share:.0%} of the prompts get one and the same completion ({before:.0%} from the reference)."
        " The reward may not depend on the prompt; read the samples, and raise beta."
    )


def _commonest(samples: Sequence[Sample]) -> float:
    """Share of the most frequent completion."""
    texts = Counter(sample.completion.text.strip() for sample in samples)
    return max(texts.values(), default=0) / max(len(samples), 1)
