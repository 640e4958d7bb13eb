"""copgkit verify: is the mathematics on this machine what the theory says?"""

from __future__ import annotations

from typing import Annotated

import typer


def verify(json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Check the losses and their optima on this machine against the exact theory."""
    from copgkit.theory.verify import main

    raise typer.Exit(main(json))
