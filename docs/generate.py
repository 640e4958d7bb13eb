"""Writes the pages of docs/reference that are in the code already: hooks, components, recipe, command line, errors.

    python docs/generate.py          after a change to an option, a hook, a command or SECURITY.md

A test compares the committed pages with what this would write. No torch.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from copgkit import CopgkitError, Evaluator, PromptSource, RewardSource, Sampler, errors, hookspecs
from copgkit.cli import app
from copgkit.cli.describe import WHERE
from copgkit.cli.option_types import type_in_words
from copgkit.cli.terminal import as_yaml
from copgkit.plugin_door import HOOKS
from copgkit.recipe.schema import SECTIONS
from copgkit.registry import Registry

ROOT = Path(__file__).parents[1]
NOTE = "<!-- Written by docs/generate.py. Change the code, then run it again. -->\n\n"
PAGES_OF_KINDS = {
    "prompt source": "Prompt sources",
    "sampler": "Samplers",
    "reward source": "Reward sources",
    "evaluator": "Evaluators",
}
BASES = (PromptSource, Sampler, RewardSource, Evaluator)


def pages() -> dict[Path, str]:
    """Every generated page, by path."""
    texts = {
        "components": components(),
        "recipe": recipe(),
        "hooks": hooks(),
        "command-line": command_line(),
        "errors": error_family(),
        "security": security(),
    }
    return {ROOT / f"docs/reference/{name}.md": NOTE + text for name, text in texts.items()}


def components() -> str:
    """What comes with copgkit, kind by kind, with the options of each."""
    parts = [
        "# Components",
        "What a recipe can name with `use`, as `copgkit describe NAME` shows it. Plugins that you install join these;"
        " `copgkit plugins` lists all.",
    ]
    ours = [item for item in Registry.load() if item.distribution == "copgkit"]
    for kind, title in PAGES_OF_KINDS.items():
        parts.append(f"## {title}")
        for item in (item for item in ours if item.kind == kind):
            required = item.cls.Options.model_json_schema().get("required", [])
            options = f", options: {{{', '.join(f'{name}: ...' for name in required)}}}" if required else ""
            parts += [
                f"### {item.name}",
                _prose(item.cls),
                f"In a recipe: `{WHERE[kind] % (f'use: {item.name}' + options)}`",
                _options(item.cls.Options),
            ]
    return _page(parts)


def recipe() -> str:
    """Every section and key of a recipe."""
    parts = [
        "# Recipe",
        "A recipe is one YAML file. Unknown keys are errors in every section. Paths are relative to the recipe."
        " `copgkit check RECIPE` shows every value with its origin, and `--set section.key=value` changes one."
        " `copgkit schema` prints a JSON schema for editors.",
    ]
    for name, section in SECTIONS.items():
        title = "The recipe itself" if name == "recipe" else name
        parts += [f"## {title}", _prose(section), _options(section)]
    return _page(parts)


def hooks() -> str:
    """The four hooks, and what a component of each kind must and may define."""
    parts = [
        "# Hooks",
        _prose(hookspecs),
        "A distribution names its module in the entry point group `copgkit`; a one-file plugin is named in the recipe's"
        " `plugins`. [Your first reward plugin](../tutorials/reward-plugin.md) shows both.",
    ]
    for name, (base, _) in HOOKS.items():
        hook = getattr(hookspecs, name)
        parts += [f"## {name}", f"```text\n{name}(register: Callable[[str, type[{base.__name__}]], None]) -> None\n```"]
        parts += [_prose(hook), f"The class is a [{base.__name__}](#{base.__name__.lower()})."]
    for cls in BASES:
        parts += [f"## {cls.__name__}", _prose(cls), *_methods(cls)]
    component = BASES[0].__mro__[1]
    parts += ["## Common to all kinds", _prose(component), *_methods(component)]
    return _page(parts)


def command_line() -> str:
    """Every command with its arguments and options, and the exit statuses."""
    parts = [
        "# Command line",
        "Every command takes `--help`; `copgkit --debug ...` shows the traceback of an error. `NO_COLOR` is respected."
        " What the exit statuses mean is under [errors](errors.md).",
    ]
    for words, command in _commands(typer.main.get_command(app), ()):
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
        usage = " ".join(["copgkit", *words, *(f"{one.metavar or str(one.name).upper()}" for one in arguments)])
        rows = [(one.metavar or str(one.name).upper(), _help(one)) for one in arguments]
        rows += [(", ".join(one.opts) + (f" {one.metavar}" if one.metavar else ""), _help(one)) for one in options]
        parts += [f"## {' '.join(words)}", f"`{usage}`", inspect.cleandoc(command.help or "")]
        parts += [_table(("", "what it is"), [(f"`{name}`", text) for name, text in rows])] if rows else []
    return _page(parts)


def error_family() -> str:
    """The classes of errors and the exit statuses."""
    family = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, CopgkitError)]
    family.sort(key=lambda cls: inspect.getsourcelines(cls)[1])
    from copgkit import cli

    statuses = re.findall(r"(\d+): ([^.]+)\.", inspect.cleandoc(cli.__doc__ or ""))
    return _page(
        [
            "# Errors and exit statuses",
            "A message reads `place: fault. remedy.` The place is a file and line, a key of the recipe, or a component."
            " The command line prints it without a traceback; `--debug` shows that too.",
            "## Exit statuses",
            _table(("status", "what it means"), statuses),
            "## In Python",
            "Every error that somebody can mend is one of these, all imported from `copgkit`:",
            _table(("class", "what it says"), [(f"`{cls.__name__}`", _one_line(cls)) for cls in family]),
            "What is not in this family is a bug of copgkit, or of a plugin, which the message then names.",
        ]
    )


def security() -> str:
    """SECURITY.md with links as the site needs them."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    return re.sub(r"\]\(docs/", "](../", text)


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if words and (command.params or not hasattr(command, "commands")):
        yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*words, name))


def _help(parameter: Any) -> str:
    text = str(getattr(parameter, "help", None) or "")
    default = getattr(parameter, "default", None)
    shown = isinstance(default, int | float | str) and not isinstance(default, bool) and default != ""
    return f"{text} Default {default}." if shown else text


def _methods(cls: type) -> Iterator[str]:
    """The public methods that a class itself defines."""
    for name, member in vars(cls).items():
        inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if name.startswith("_") or not inspect.isfunction(inner):
            continue
        signature = str(inspect.signature(inner)).replace("'", "")
        yield f"### {cls.__name__}.{name}"
        yield f"```text\n{name}{signature}\n```"
        yield _prose(inner)


def _options(model: type[BaseModel]) -> str:
    schema = model.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    rows = [
        (f"`{name}`", type_in_words(field, schema), _default(name, field, required), field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]
    return _table(("option", "type", "default", "what it does"), rows) if rows else "It has no options."


def _default(name: str, field: Mapping[str, Any], required: Sequence[str]) -> str:
    if name in required:
        return "required"
    if "default" not in field or isinstance(field["default"], dict):
        return ""
    return f"`{as_yaml(field['default'])}`"


def _prose(documented: Any) -> str:
    return inspect.cleandoc(documented.__doc__ or "")


def _one_line(documented: Any) -> str:
    return " ".join(_prose(documented).split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    """Writes the pages that differ, and names them."""
    for path, text in pages().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
