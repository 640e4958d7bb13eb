"""copgkit inspect GROUPS: what there is to learn from scored groups, before anything is trained on them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copgkit.cli.arguments import AsJson, Changes, output_to
from copgkit.cli.terminal import bold, columns, print_json, wrapped

if TYPE_CHECKING:
    from copgkit.report import BetaAdvice, Inspection


def inspect(
    groups: Annotated[
        Path,
        typer.Argument(
            metavar="GROUPS",
            help="Scored groups or preference pairs (.jsonl, .parquet), a folder of them, a run folder, or a recipe.",
            show_default=False,
        ),
    ],
    changes: Changes = None,
    beta: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="NUMBER", help="Hold the rewards against this beta; else the run's or recipe's, if any."
        ),
    ] = None,
    output: Annotated[Path | None, output_to("FILE", "Write a page with pictures, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at scored groups: signal, scale against beta, form, what the reward pays for, and a beta to begin with.

    A run does the same before it trains, and prints the warnings.
    """
    from copgkit.inspecting import groups_to_inspect
    from copgkit.report import advise_beta, inspect_groups, write_inspection
    from copgkit.report.terminal import make_progress

    given = groups_to_inspect(groups, changes or (), make_progress(quiet=as_json))
    found = inspect_groups(given.groups, given.beta if beta is None else beta)
    advice = advise_beta(found)
    if output is not None:
        write_inspection(output, given.title, given.groups, found)
    if as_json:
        print_json(_as_data(found, advice))
        return
    for line in _lines(given.title, found, advice):
        print(line)
    if output is not None:
        print(f"\n{output}")


def _lines(title: str, found: Inspection, advice: BetaAdvice | None) -> list[str]:
    from copgkit.report import cautions, inspection_facts, plain

    facts = [tuple(map(plain, fact)) for fact in inspection_facts(found)]
    lines = [bold(plain(title)), *columns(facts, right=(1,))]
    for warning in cautions(found):
        lines += ["", *wrapped(f"warning: {plain(warning)}")]
    if advice is not None:
        lines += [
            "",
            bold(f"A beta to begin with: {advice.beta:g}"),
            *wrapped(advice.reason[:1].upper() + advice.reason[1:]),
        ]
        lines += ["How far the reward can be trusted, a sweep shows:", f"  copgkit sweep RECIPE --set {advice.sweep}"]
    return lines


def _as_data(found: Inspection, advice: BetaAdvice | None) -> dict[str, Any]:
    from copgkit.report import cautions

    return asdict(found) | {
        "nats": found.nats,
        "nats_per_token": found.nats_per_token,
        "warnings": cautions(found),
        "advice": None if advice is None else asdict(advice),
    }
