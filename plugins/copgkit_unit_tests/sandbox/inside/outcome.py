"""Running a piece of hostile code to its end, whatever that end is."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

from .plain import Plain, builtin_name, exception_text


def raised(error: BaseException) -> Plain:
    """An exception as a reply: nearest built-in class, own class, text."""
    return {"raised": builtin_name(type(error)), "type": type(error).__name__, "text": exception_text(error)}


def attempt(action: Callable[[], Any]) -> tuple[Any, Plain | None]:
    """(value, None), or (None, the reply that says what was raised). SystemExit is an exception like any other."""
    try:
        return action(), None
    except BaseException as error:
        return None, raised(error)


def new_module(name: str) -> types.ModuleType:
    """An empty module that `import` and pickling find under its name."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def run_source(source: str, module: types.ModuleType) -> None:
    """Execute a text as the body of a module."""
    code = compile(source, f"<{module.__name__}>", "exec", dont_inherit=True)
    exec(code, module.__dict__)
