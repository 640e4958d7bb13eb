"""Questions to a fresh Python process: what a component's module imports, counts and calls its fingerprint there.

What a process has imported cannot be told in the one that runs the tests, and a text that depends on hashes or on
addresses is the same twice in one process and another in the next.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from copgkit.components import Component

_PROGRAM = """
import importlib, json, operator, sys
asked = json.load(sys.stdin)
sys.path[:] = asked["path"]
if asked["file"]:
    from pathlib import Path
    from copgkit.plugin_files import load_plugin_file
    module, _ = load_plugin_file(Path(asked["file"]), asked["file"])
else:
    module = importlib.import_module(asked["module"])
answer = None
if asked["question"]:
    from pathlib import Path
    from copgkit import Context
    cls = operator.attrgetter(asked["class"])(module)
    options = cls.Options.model_validate_json(json.dumps(asked["options"]))
    component = cls(options, Context(asked["name"], Path(asked["folder"])))
    answer = getattr(component, asked["question"])()
    component.close()
print("\\n" + json.dumps({"answer": answer, "imported": sorted(sys.modules)}))
"""


class ElsewhereError(AssertionError):
    """The other process could not answer."""


@cache
def imported_with(module: str, file: str = "") -> frozenset[str]:
    """The names of the modules that are loaded once this one is. file: where the source of a one-file plugin is."""
    return frozenset(_answer({"question": "", "module": module, "file": file})["imported"])


def file_of(component: type[Component]) -> str:
    """The file of a component that came from a one-file plugin; empty for one that is imported by name."""
    return inspect.getfile(component) if component.__module__.startswith("copgkit_file_") else ""


def ask_another_process(
    question: str, component: type[Component], options: Mapping[str, Any], folder: Path | str
) -> tuple[Any, list[str]]:
    """What the component's method of this name gives there, and the modules that are loaded then. Raises
    ElsewhereError with the last line of what went wrong."""
    asked = {
        "question": question,
        "module": component.__module__,
        "file": file_of(component),
        "class": component.__qualname__,
        "options": dict(options),
        "folder": str(Path(folder).resolve()),
        "name": component.__name__.lower(),
    }
    told = _answer(asked)
    return told["answer"], told["imported"]


def _answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    message = json.dumps({**asked, "path": sys.path})
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], input=message, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        last = ended.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ElsewhereError(f"in a fresh process it cannot answer: {last[0]}.")
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told
