"""copgkit check RECIPE: what a recipe means and what it will do, without doing it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copgkit.cli.arguments import AsJson, Changes, RecipeFile
from copgkit.cli.terminal import amount, as_yaml, bold, columns, dim, print_json
from copgkit.progress import Progress
from copgkit.redaction import redacted_data

if TYPE_CHECKING:
    from copgkit.recipe import Plan, ResolvedRecipe

LONGEST_VALUE = 56


def check(
    recipe: RecipeFile,
    changes: Changes = None,
    as_json: AsJson = False,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing",
            help="Count the scores, and for recorded groups the reference's log-probabilities, that the store does not"
            " have yet: loads the data and the policy, and asks every source who it is, which may read a checkpoint.",
        ),
    ] = False,
) -> None:
    """Check a recipe: show every value with its origin, and what a run would do."""
    from copgkit.recipe import Plan, load_recipe, make_plan

    resolved = load_recipe(recipe, changes or ())
    plan = make_plan(resolved)
    if missing:
        from copgkit.missing import missing as still_missing

        plan = Plan((*plan.figures, *still_missing(resolved, Progress())))
    if as_json:
        print_json(_as_data(resolved, plan))
        return
    for line in [*_values(resolved), "", *_plan(plan)]:
        print(line)


def _values(resolved: ResolvedRecipe) -> list[str]:
    owners = {f"{part.key}.use": part.registered.owner for part in resolved.parts}
    rows = []
    for key, value in resolved.values():
        if value == {}:
            continue
        owner = f"  ({owners[key]})" if key in owners else ""
        rows.append((key, _short(as_yaml(redacted_data(value, key))) + owner, resolved.origins[key]))
    lines, section = [], ""
    for line, (key, _, origin) in zip(columns(rows), rows, strict=True):
        if key.partition(".")[0].partition("[")[0] != section and "." in key:
            lines.append("")
        section = key.partition(".")[0].partition("[")[0]
        lines.append(dim(line) if origin == "default" else line)
    return [bold(str(resolved.path)), *lines]


def _plan(plan: Plan) -> list[str]:
    rows = [(figure.name, amount(figure.value, figure.unit), figure.how) for figure in plan.figures]
    return [bold("What a run will do (counts are upper bounds)"), *columns(rows, right=(1,))]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _as_data(resolved: ResolvedRecipe, plan: Plan) -> dict[str, Any]:
    return {
        "recipe": str(resolved.path),
        "values": {
            key: {"value": redacted_data(value, key), "origin": resolved.origins[key]}
            for key, value in resolved.values()
        },
        "components": {
            part.key: {"name": part.registered.name, "kind": part.registered.kind, "owner": part.registered.owner}
            for part in resolved.parts
        },
        "plan": [asdict(figure) for figure in plan.figures],
    }
