"""copgkit plugins: what recipes can use, and who brought it; `plugins check` tries one against its contract."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from copgkit.cli.arguments import AsJson
from copgkit.cli.check_plugin import check_plugin
from copgkit.cli.terminal import bold, columns, print_json

if TYPE_CHECKING:
    from copgkit.registry import Registry

HEAD = ("KIND", "NAME", "PLUGIN", "DISTRIBUTION", "WHAT IT IS")
HEAD_OF_FAILURES = ("PLUGIN", "DISTRIBUTION", "REASON")

plugins = typer.Typer(add_completion=False, rich_markup_mode=None)
plugins.command("check")(check_plugin)


@plugins.callback(invoke_without_command=True)
def list_plugins(context: typer.Context, as_json: AsJson = False) -> None:
    """List components by kind and name, and plugins that could not be loaded; or check one (plugins check NAME)."""
    if context.invoked_subcommand is not None:
        return
    from copgkit.registry import Registry

    registry = Registry.load()
    if as_json:
        keys = ("kind", "name", "plugin", "distribution", "version", "help")
        components = [{key: getattr(item, key) for key in keys} for item in registry]
        print_json({"components": components, "failures": [asdict(failure) for failure in registry.failures]})
        return
    for line in _table(registry):
        print(line)


def _table(registry: Registry) -> list[str]:
    rows = [HEAD]
    for item in registry:
        rows.append((item.kind, item.name, item.plugin, item.owner, item.help))
    head, *lines = columns(rows)
    failures = [
        (failure.name, f"{failure.distribution} {failure.version}", failure.reason) for failure in registry.failures
    ]
    if failures:
        lines += ["", bold("Could not be loaded"), *columns([HEAD_OF_FAILURES, *failures])]
    return [bold(head), *lines]
