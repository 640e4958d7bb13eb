"""A resolved recipe as YAML that reads back to the same recipe."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

import yaml

from copgkit.recipe import reading
from copgkit.recipe.resolve import ResolvedRecipe, plain
from copgkit.redaction import redacted_data


class _Dumper(yaml.SafeDumper):
    """Quotes text that this project's reader, or any YAML 1.1 reader, would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern in (("int", reading.INTEGER), ("float", reading.FLOAT)):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern.pattern), list("-+.0123456789"))


def to_yaml(resolved: ResolvedRecipe) -> str:
    """The recipe with every default written out, and without secrets. Relative paths stay as they were; the first lines
    say where they start, so that a copy elsewhere can be understood."""
    head = (
        f"# {resolved.path.name} with every default written out, by copgkit {version('copgkit')}.\n"
        f"# Relative paths start at: {resolved.folder}\n"
    )
    body = yaml.dump(
        redacted_data(plain(resolved.recipe)), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120
    )
    return head + str(body)
