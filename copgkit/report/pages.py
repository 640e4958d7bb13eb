"""Pages of HTML from the templates beside this file: self-contained, and everything in them escaped.

text = render("report.html", title="tldr", figures=[...])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copgkit.report.plain import plain
from copgkit.types import Score


def render(template: str, **values: Any) -> str:
    """The page. A value that the template asks for and does not get is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters["said"] = said
    return environment.get_template(template).render(**values)


def said(score: Score) -> str:
    """What a source said, in words: its number, an abstention, or a failure with the reason."""
    if score.failure is not None:
        return f"failed: {score.failure}"
    return "abstained" if score.value is None else f"{score.value:.3f}"


def _harmless(value: Any) -> Any:
    """Applied to all that a template shows; markup that jinja has made itself keeps its type."""
    return value if hasattr(value, "__html__") else plain(value)
