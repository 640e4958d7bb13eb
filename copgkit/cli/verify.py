"""copgkit verify: is the mathematics on this machine what the theory says?"""

from __future__ import annotations

import typer


def verify() -> None:
    """Check the losses and their optima on this machine against the exact theory."""
    from copgkit.theory.verify import run_all

    if not run_all(report=print):
        raise typer.Exit(1)
