"""copgkit store: the scores and log-probabilities that are kept, to list, export and prune."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from copgkit.cli.arguments import AsJson
from copgkit.cli.terminal import amount, bold, columns, print_json
from copgkit.errors import CopgkitError

if TYPE_CHECKING:
    from copgkit.store import ScoreStore

HEAD = ("SOURCE", "DIGEST", "ROWS", "SIZE", "OLDEST", "NEWEST", "DISTRIBUTION")

store = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
File = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="A store of its own, as scoring.store names it.", show_default=False),
]
Source = Annotated[
    str | None,
    typer.Option("--source", metavar="NAME", help="Only this source, or reference:MODEL.", show_default=False),
]


@store.callback()
def about() -> None:
    """Look into the score store: what reward sources have said, so that nothing is scored twice, and references'
    log-probabilities."""


@store.command("list")
def list_sources(file: File = None, as_json: AsJson = False) -> None:
    """List sources and references with the number, size and age of what is kept of them."""
    from copgkit.store import stored_sources

    found = stored_sources(_open(file))
    if as_json:
        print_json([vars(source) for source in found])
        return
    rows = [HEAD]
    for one in found:
        owner = f"{one.distribution} {one.version}".strip()
        days = (f"{one.oldest:%Y-%m-%d}", f"{one.newest:%Y-%m-%d}")
        rows.append((one.name, one.digest, f"{one.rows:,}", amount(one.bytes, "bytes"), *days, owner))
    head, *lines = columns(rows, right=(2, 3))
    for line in [bold(head), *lines]:
        print(line)


@store.command()
def export(file: File = None, source: Source = None) -> None:
    """Print what is kept as JSON lines: key, source, when, and values with notes or log-probabilities. Texts are not
    kept, only their hashes."""
    from copgkit.store import exported
    from copgkit.store.json_lines import to_line

    for row in exported(_open(file), source):
        sys.stdout.write(to_line(row))


@store.command()
def prune(
    file: File = None,
    source: Source = None,
    older_than: Annotated[
        int | None,
        typer.Option(
            "--older-than", metavar="DAYS", min=0, help="Only scores of at least this age.", show_default=False
        ),
    ] = None,
    all_but: Annotated[
        list[Path] | None,
        typer.Option(
            "--all-but",
            metavar="RECIPE",
            help="Only what this recipe's sources and reference, as they are now, would not find. May be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Remove scores and log-probabilities: those that meet every condition that is given."""
    from copgkit.store import prune as remove

    if source is None and older_than is None and not all_but:
        raise CopgkitError(
            "copgkit store prune: nothing says what to remove. Give --source, --older-than or --all-but."
        )
    opened = _open(file)
    before = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
    removed = remove(opened, source, before, _digests(all_but or []))
    print(f"{removed:,} rows removed; {opened.path} now takes {amount(opened.path.stat().st_size, 'bytes')}")


@store.command()
def path() -> None:
    """Print where `scoring.store: cache` keeps scores and log-probabilities."""
    from copgkit.store import default_store_path

    print(default_store_path())


def _open(file: Path | None) -> ScoreStore:
    from copgkit.store import ScoreStore, default_store_path

    path = file or default_store_path()
    if not path.exists():
        raise CopgkitError(f"{path}: there is no score store yet. A run makes it, or name another with --file.")
    return ScoreStore(path, lambda text: print(f"warning: {text}", file=sys.stderr))


def _digests(recipes: list[Path]) -> set[bytes]:
    from copgkit.panel import stored_identities
    from copgkit.recipe import load_recipe
    from copgkit.reference_shelf import reference_identity

    found = [
        identity
        for resolved in map(load_recipe, recipes)
        for identity in (*stored_identities(resolved), reference_identity(resolved))
    ]
    return {identity.digest for identity in found if identity is not None}
