"""copgkit plugins check NAME: does a component keep the contract of its kind?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from copgkit.cli.terminal import bold

if TYPE_CHECKING:
    from copgkit.plugin_door import Registered
    from copgkit.registry import Registry
    from copgkit.testing import Contract


def check_plugin(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A component (name or kind/name), or a one-file plugin.", show_default=False
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Option("--options", metavar="KEY=VALUE", help="An option, as a recipe gives it. May be repeated."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="Prompts or groups to try it on; stand-ins if not given."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="The time in which it must have answered once.")] = 60.0,
) -> None:
    """Check that a component keeps the contract of its kind; a rule that does not hold is named, and the status is 2.

    Paths in options are relative to where you are. Rules that need more than a command line can say (completions on
    which a source must abstain or fail) are for tests: see copgkit.testing.
    """
    from copgkit.registry import Registry
    from copgkit.testing import check, rules_of

    registry = Registry.load()
    broken = 0
    for item in _named(registry, name):
        contract = _contract(item, options or [], data, seconds, registry)
        findings = check(contract)
        broken += len(findings)
        kept = f"keeps all {len(rules_of(contract))} rules" if not findings else f"breaks {len(findings)}"
        print(bold(f"{item.kind} '{item.name}' ({item.owner}) {kept}"))
        for finding in findings:
            print(f"  {finding}")
    raise typer.Exit(2 if broken else 0)


def _named(registry: Registry, name: str) -> list[Registered[Any]]:
    """The components of this name, or those that the file of this name brings."""
    from copgkit.errors import PluginError

    if name.endswith(".py"):
        known = set(map(id, registry))
        registry.add_file(Path(name), name)
        return [item for item in registry if id(item) not in known]
    found = registry.find(name)
    if not found:
        raise PluginError(registry.unknown_anywhere(name))
    if len(found) > 1:
        choices = " or ".join(f"{item.kind.replace(' ', '-')}/{item.name}" for item in found)
        raise PluginError(f"{name}: {len(found)} components have this name. Say which: {choices}.")
    return found


def _contract(
    item: Registered[Any], options: list[str], data: Path | None, seconds: float, registry: Registry
) -> type[Contract]:
    from copgkit import testing
    from copgkit.recipe import options_from_text

    contract: type[Contract] = {
        "prompt source": testing.PromptSourceContract,
        "sampler": testing.SamplerContract,
        "reward source": testing.RewardSourceContract,
        "evaluator": testing.EvaluatorContract,
    }[item.kind]
    members: dict[str, Any] = {
        "component": item.cls,
        "name": item.name,
        "options": options_from_text(item, options),
        "seconds": seconds,
    }
    if data is not None:
        members |= _data(data, registry)
    return type("Checked", (contract,), members)


def _data(file: Path, registry: Registry) -> dict[str, Any]:
    """Prompts, completions and samples of a file, as the contracts take them."""
    from copgkit.components import Context
    from copgkit.testing import some_samples
    from copgkit.types import Completion

    reader = registry.get("prompt source", "parquet" if file.suffix == ".parquet" else "jsonl")
    prompts = list(reader.cls(reader.cls.Options(path=str(file)), Context("--data")).load())
    completions = [
        Completion(prompt, one.text, one.token_ids, one.finished, one.scores)
        for prompt in prompts
        for one in prompt.recorded
    ]
    members: dict[str, Any] = {"prompts": prompts, "completions": completions}
    if completions:
        members["samples"], members["reference_samples"] = some_samples(completions)
    return members
