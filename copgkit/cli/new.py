"""copgkit new reward|sampler NAME: a package for a plugin of one's own, which passes its own tests as it stands."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import typer

new = typer.Typer(
    help="Write a package for a plugin of your own: a reward source or a sampler.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name in recipes, in kebab-case.", show_default=False)]


@new.command()
def reward(name: Name) -> None:
    """Write a package with a reward source, its options, its contract test and a README into ./NAME."""
    _write(name, "reward", "reward source", f"rewards: [{{use: {name}}}]")


@new.command()
def sampler(name: Name) -> None:
    """Write a package with a sampler, its options, its contract test and a README into ./NAME."""
    _write(name, "sampler", "sampler", f"sampler: {{use: {name}}}")


def _write(name: str, template: str, kind: str, example: str) -> None:
    """Fills in the templates. Raises CopgkitError for a name that cannot be one, or that is taken."""
    _refuse_bad_names(name, kind)
    module = f"copgkit_{name.replace('-', '_')}"
    values = {
        "name": name,
        "kind": kind,
        "example": example,
        "module": module,
        "distribution": f"copgkit-{name}",
        "cls": "".join(part.capitalize() for part in name.split("-")) + template.capitalize(),
        "version": version("copgkit"),
    }
    folder = Path(name)
    for target, source in {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{module}/__init__.py": f"{template}/component.py",
        f"tests/test_{name.replace('-', '_')}.py": f"{template}/test.py",
    }.items():
        text = files("copgkit.cli").joinpath("new_templates", *f"{source}.txt".split("/")).read_text(encoding="utf-8")
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values), encoding="utf-8")
    print(f"{folder}/ holds {kind} '{name}'. Its tests: cd {name} && pip install -e '.[test]' && pytest")


def _refuse_bad_names(name: str, kind: str) -> None:
    from copgkit.errors import CopgkitError
    from copgkit.plugin_door import NAME
    from copgkit.registry import Registry

    if not re.fullmatch(NAME, name):
        raise CopgkitError(f"{name!r} is not a name for a {kind}. Use kebab-case, for instance 'short-answers'.")
    if Path(name).exists():
        raise CopgkitError(f"{name}: there is something of this name here already. Choose another, or go elsewhere.")
    taken = Registry.load().lookup(kind, name)
    if taken is not None:
        raise CopgkitError(f"{name}: {taken.owner} has a {kind} of this name. Choose another.")
    module = f"copgkit_{name.replace('-', '_')}"
    if find_spec(module) is not None:
        raise CopgkitError(f"{name}: its module {module} would hide one that is installed. Choose another name.")
