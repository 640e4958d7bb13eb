"""An inspection in words and pictures: the rows of its table, and one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from copgkit.report.cautions import cautions
from copgkit.report.choosing_beta import BetaAdvice, advise_beta
from copgkit.report.drawing import INK, PALETTE, logarithmic, svg_image
from copgkit.report.figures import Figure
from copgkit.report.inspection import OUTLIER_DEVIATIONS, Inspection, centred_rewards, length_of
from copgkit.report.pages import render
from copgkit.store.run_folder import write_whole
from copgkit.types import ScoredGroup

_POINTS_DRAWN = 3_000
_OUTLIERS_SHOWN = 5


class Fact(NamedTuple):
    """A line of the table: what was looked at, what was found, and what that means."""

    what: str
    value: str
    meaning: str


def inspection_facts(found: Inspection) -> list[Fact]:
    """The table, in the order in which a reader asks."""
    return [*_what_there_is(found), *_signal(found), *_scale(found), *_form(found), *_preferences(found)]


def write_inspection(path: Path, title: str, groups: Sequence[ScoredGroup], found: Inspection) -> Path:
    """Writes the page and gives its path."""
    advice = advise_beta(found)
    page = render(
        "inspection.html",
        title=title,
        headline=headline(found, advice),
        warnings=cautions(found),
        facts=inspection_facts(found),
        advice=advice,
        figures=list(_figures(groups, found, advice)),
        outliers=found.outliers[:_OUTLIERS_SHOWN],
    )
    write_whole(path, [page])
    return path


def headline(found: Inspection, advice: BetaAdvice | None) -> str:
    """The finding in one sentence."""
    if advice is None:
        return f"{found.groups:,} groups without any signal: within each, all rewards are equal."
    given = f" (now {found.beta:g})" if found.beta else ""
    return f"{found.groups:,} groups; a beta to begin with is {advice.beta:g}{given}."


def _what_there_is(found: Inspection) -> Iterator[Fact]:
    each = found.completions / found.groups
    yield Fact("groups", f"{found.groups:,}", f"of {each:.3g} completions, {found.mean_length:.1f} {found.unit} each")
    reward = found.reward
    yield Fact("reward", f"{reward.mean:.3f}", f"mean; deviation {reward.deviation:.3f} over all completions")


def _signal(found: Inspection) -> Iterator[Fact]:
    reward, signal = found.reward, found.signal
    yield Fact("spread within groups", f"{reward.within:.3f}", f"mean deviation; best minus worst {reward.spread:.3f}")
    yield Fact("groups without signal", f"{signal.groups_without:.1%}", "all completions have the same reward")
    yield Fact("pairs without signal", f"{signal.tied_pairs:.1%}", "of those contrasted; both have the same reward")


def _scale(found: Inspection) -> Iterator[Fact]:
    if found.nats is None:
        return
    each = "" if found.nats_per_token is None else f", {found.nats_per_token:.2g} a {found.unit[:-1]}"
    meaning = f"nats that the optimum moves completions of one prompt apart at beta = {found.beta:g}{each}"
    yield Fact("spread over beta", f"{found.nats:.2f}", meaning)


def _form(found: Inspection) -> Iterator[Fact]:
    form = found.form
    yield Fact("unfinished", f"{form.unfinished:.1%}", "of the completions were stopped at a length limit")
    yield Fact("duplicates", f"{form.repeated:.1%}", "of the completions repeat another of their group")
    yield Fact("empty", f"{form.empty:.1%}", "of the completions have no text")
    if form.prompts_repeated:
        yield Fact("prompts repeated", f"{form.prompts_repeated:.1%}", "of the groups have a prompt that came before")


def _preferences(found: Inspection) -> Iterator[Fact]:
    length = found.length
    if length.correlation is not None and length.slope is not None:
        meaning = (
            f"correlation with the reward within groups, {length.slope:+.2g} for one more {found.unit[:-1]};"
            f" {length.correlation**2:.0%} of the variance"
        )
        yield Fact("length", f"{length.correlation:+.2f}", meaning)
    for source in found.sources:
        part = "-" if source.share is None else f"{source.share:.1%}"
        gaps = ", ".join(
            f"{share:.1%} {what}"
            for share, what in ((source.abstained, "abstained"), (source.failed, "failed"))
            if share
        )
        meaning = f"of the reward's variance within groups; its deviation there {source.within:.3f}"
        yield Fact(f"source {source.name}", part, meaning + (f"; {gaps}" if gaps else ""))
    for pair in found.agreements:
        value = "-" if pair.rank_correlation is None else f"{pair.rank_correlation:+.2f}"
        yield Fact(f"{pair.one} and {pair.other}", value, f"rank correlation within groups, over {pair.pairs:,} pairs")
    where = f"; the furthest: {found.outliers[0].place}" if found.outliers else ""
    meaning = f"rewards beyond {OUTLIER_DEVIATIONS:.0f} robust deviations from their group's mean{where}"
    yield Fact("outliers", f"{len(found.outliers):,}", meaning)


def _figures(groups: Sequence[ScoredGroup], found: Inspection, advice: BetaAdvice | None) -> Iterator[Figure]:
    above = centred_rewards(groups)
    yield _histogram(
        "Rewards within groups",
        "Each reward less the mean of its group: all that the loss sees. A spike at 0 is pairs without signal.",
        above,
        "reward above the group's mean",
    )
    lengths = length_of(groups)
    if found.length.correlation is not None:
        yield _scatter(lengths, above, found)
    if advice is not None:
        yield _beta_figure(found, advice)


def _histogram(title: str, note: str, values: Sequence[float], label: str) -> Figure:
    def draw(axes: Any) -> None:
        axes.hist(values, bins=40, color=PALETTE[0][0])

    return Figure(title, note, svg_image(draw, label, "completions"))


def _scatter(lengths: Sequence[float], above: Sequence[float], found: Inspection) -> Figure:
    apart = max(1, len(above) // _POINTS_DRAWN)

    def draw(axes: Any) -> None:
        axes.plot(lengths[::apart], above[::apart], ".", color=PALETTE[0][0], markersize=2.5, alpha=0.35)
        ends = [min(lengths), max(lengths)]
        axes.plot(ends, [(found.length.slope or 0.0) * end for end in ends], color=PALETTE[1][0])

    note = "Within groups. A slope says that the reward pays for a length; the line is the least-squares one."
    return Figure("Reward and length", note, svg_image(draw, f"{found.unit} above the mean", "reward above the mean"))


def _beta_figure(found: Inspection, advice: BetaAdvice) -> Figure:
    """What each beta asks for: nats between completions of one prompt, on logarithmic scales."""
    sigma = found.reward.within
    ends = (min(advice.low, found.beta or advice.low) / 2, max(advice.high, found.beta or advice.high) * 2)

    def draw(axes: Any) -> None:
        logarithmic(axes, x=True, y=True)
        axes.plot(ends, [sigma / end for end in ends], color=PALETTE[0][0])
        worth = [advice.low, advice.beta, advice.high]
        axes.plot(worth, [sigma / beta for beta in worth], "o", color=PALETTE[0][0], label="worth a sweep")
        if found.beta:
            axes.plot([found.beta], [sigma / found.beta], "s", color=PALETTE[1][0], label="now")
        if found.mean_length:
            axes.axhline(found.mean_length, color=INK[0], linewidth=0.9, linestyle=(0, (2, 3)))
        axes.legend()

    note = f"Nats that the optimum moves completions of one prompt apart. Dotted: one nat for each {found.unit[:-1]}."
    return Figure("What beta asks for", note, svg_image(draw, "beta", "nats"))
