"""Measures copgkit beside TRL on this machine, prints tables and writes them down. Without a section: all of them.

    python -m benchmarks training --k 2 8 --prompt 384     the two central cells
    python -m benchmarks --update-docs                     everything, into docs/benchmarks.md; this takes hours

Every figure goes to a JSON file as well. How each is measured is said in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import options as command_line
from benchmarks import page
from copgkit.cli.machine import keep_freed_memory

SECTIONS = ("training", "memory", "loop", "scaling", "processes", "generation", "on-policy", "scoring", "parity")


def main() -> None:
    """Runs the sections one after the other. Results are written after each, so that an interruption loses one."""
    given = _parser().parse_args()
    options = command_line.read(given)
    # Read when torch is imported, which is not before the sections are.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    keep_freed_memory()  # as copgkit's command does; here both programs gain by it
    warnings.filterwarnings("ignore", category=FutureWarning)  # of TRL's and transformers' own settings
    record: dict[str, Any] = {}
    for section in given.sections or SECTIONS:
        from benchmarks.machine import describe

        machine = describe(options.cell.device)
        options.say(json.dumps(machine))
        tables = import_module(f"benchmarks.{section.replace('-', '_')}").measure(options)
        print("\n\n".join(table.as_text() for table in tables), flush=True)
        record[section] = {"machine": machine, "options": vars(given)} | {
            table.title: table.records for table in tables
        }
        _write(given.json, record)
        if given.update_docs:
            page.update(section, machine, tables)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", choices=SECTIONS, help=", ".join(SECTIONS), metavar="SECTION")
    command_line.add_options(parser)
    parser.add_argument("--json", type=Path, default=Path("runs/benchmarks.json"), help="where every figure goes")
    parser.add_argument("--update-docs", action="store_true", help="put the tables into docs/benchmarks.md")
    return parser


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
