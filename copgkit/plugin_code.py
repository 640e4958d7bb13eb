"""Which code a component runs: a scoring rule that is mended must not be answered by scores of the old one."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from copgkit.components import Component
from copgkit.samplers import Sampler

_OURS = (Component.__module__, Sampler.__module__)


def code_digest(cls: type[Component]) -> str:
    """sha256 over the Python files of the package that the class is defined in, and of those it inherits from.

    A class in a module without a package counts that file alone. Libraries that the code calls are not part of it.
    """
    return files_digest({file for ancestor in cls.__mro__ for file in _files(ancestor)})


def files_digest(files: Iterable[Path]) -> str:
    """sha256 over the contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _files(cls: type) -> Iterator[Path]:
    """The files of a class's code; none for Python's own classes and for the bases that copgkit provides."""
    if cls.__module__ in ("builtins", "abc", "typing", *_OURS):
        return
    module = sys.modules.get(cls.__module__)
    package = sys.modules.get(getattr(module, "__package__", None) or "")
    if package is not None and getattr(package, "__file__", None):
        yield from Path(str(package.__file__)).parent.rglob("*.py")
    elif getattr(module, "__file__", None):
        yield Path(str(getattr(module, "__file__", ""))).resolve()
