"""One-file plugins: a Python file beside a recipe becomes a module, without being installed."""

from __future__ import annotations

import hashlib
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from copgkit.errors import PluginError


def load_plugin_file(file: Path, shown: str) -> tuple[ModuleType, str]:
    """Runs the file and gives its module and a version, the start of its content's hash. Messages call it `shown`.

    The module's name contains that hash: class names, and with them the fingerprints of stored scores, change when the
    file does. It stays in sys.modules, where pydantic looks up annotations. Raises PluginError naming file and line.
    """
    try:
        source = file.read_bytes()
    except FileNotFoundError as fault:
        raise PluginError(f"{shown}: there is no such file. Paths are relative to the recipe.") from fault
    except OSError as fault:
        raise PluginError(f"{shown}: it cannot be read ({fault.strerror}). Name a Python file.") from fault
    version = hashlib.sha256(source).hexdigest()[:12]
    module = ModuleType(f"copgkit_file_{re.sub(r'[^0-9A-Za-z_]', '_', file.stem)}_{version}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as fault:
        del sys.modules[module.__name__]
        raise PluginError(_explain(fault, file, shown)) from fault
    return module, version


def _explain(fault: BaseException, file: Path, shown: str) -> str:
    if isinstance(fault, SyntaxError) and fault.filename == str(file):
        return f"{shown}:{fault.lineno}: {fault.msg}. Mend the Python."
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == str(file)]
    place = f"{shown}:{lines[-1]}" if lines else shown
    words = " ".join(str(fault).split())
    return f"{place}: it cannot be imported: {type(fault).__name__}{': ' if words else ''}{words}"
