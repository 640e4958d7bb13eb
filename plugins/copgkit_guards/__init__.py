"""Guards: cheap scores that hold off the ways in which a policy pleases a reward without doing its task.

A metric or an entailment model can be pleased by copying the source, by saying almost nothing, or by never ending.
`length`, `copy-rate` and `format` are reward sources of their own, so that a recipe weighs each and a log shows each.
They are cheaper than a look into the score store and are not kept there. They read the text alone; words are runs of
letters and digits, so they fit languages that put spaces between words.
"""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_guards.copying import CopyRate
from copgkit_guards.form import Form
from copgkit_guards.length import Length


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `length`, `copy-rate` and `format`."""
    register("length", Length)
    register("copy-rate", CopyRate)
    register("format", Form)
