"""The command line: one file per command, and one place where errors become exit statuses.

0: done. 1: `verify` found a statement that does not hold. 2: something the user can mend, the command line included.
70: a fault of copgkit itself. 75: a run was interrupted and saved; start it again to go on. 130: interrupted.
Nothing heavy is imported here; the commands import what they need when they are called.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from copgkit.cli.check import check
from copgkit.cli.compare import compare
from copgkit.cli.describe import describe
from copgkit.cli.inspect import inspect
from copgkit.cli.machine import end_without_search, keep_freed_memory, wait_briefly
from copgkit.cli.new import new
from copgkit.cli.plugins import plugins
from copgkit.cli.run import run
from copgkit.cli.sample import sample
from copgkit.cli.schema import schema
from copgkit.cli.score import score
from copgkit.cli.store import store
from copgkit.cli.sweep import sweep
from copgkit.cli.verify import verify
from copgkit.errors import CopgkitError
from copgkit.launched import end_at_once, end_with_parent, tell
from copgkit.report.plain import plain

BUG = 70  # what sysexits.h calls an internal software error

app = typer.Typer(
    help="Align a language model with any score a sequence can be given, by Contrastive Policy Gradient.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, check, inspect, sweep, compare, sample, score, describe, schema, verify):
    app.command()(command)
app.add_typer(plugins, name="plugins")
app.add_typer(new, name="new")
app.add_typer(store, name="store")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"copgkit {version('copgkit')}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of errors; also after the command.")
    ] = False,
) -> None:
    """Align a language model with any score a sequence can be given, by Contrastive Policy Gradient."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit status."""
    status = BUG
    end_at_once(lambda: status)
    end_with_parent()
    end_without_search()
    wait_briefly()
    keep_freed_memory()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.exit(_status([word for word in given if word != "--debug"], debug="--debug" in given))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
        raise


def _status(arguments: list[str], debug: bool) -> int:
    try:
        status = app(args=arguments, prog_name="copgkit", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except BrokenPipeError:
        # The reader of a pipe has seen enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        if end.code or _is_completion(arguments):
            raise
        if debug:
            _print_traceback(end)
        print("A plugin called sys.exit(), as if all were well. --debug shows where.", file=sys.stderr)
        return 2
    except Exception as fault:
        if debug:
            _print_traceback(fault)
        return _explain(fault, debug)


def _is_completion(arguments: Sequence[str]) -> bool:
    """Whether a shell asks what could come next, or its user for that to work: typer then ends the process itself."""
    return "_COPGKIT_COMPLETE" in os.environ or any(one.endswith("-completion") for one in arguments[:1])


def _explain(fault: Exception, debug: bool) -> int:
    """Says what went wrong, and gives the exit status."""
    if isinstance(fault, CopgkitError):
        tell(plain(fault))
        return 2
    if hasattr(fault, "show") and hasattr(fault, "exit_code"):  # how typer says that a command line is wrong
        fault.show()
        return int(fault.exit_code)
    if type(fault).__name__ == "Abort":  # how some versions of typer say KeyboardInterrupt
        return 130
    hint = "" if debug else " Run it again with --debug for the traceback."
    tell(plain(f"This is a bug in copgkit: {type(fault).__name__}: {fault}.{hint}"))
    return BUG


def _print_traceback(fault: BaseException) -> None:
    print(plain("".join(traceback.format_exception(fault))), end="", file=sys.stderr)
