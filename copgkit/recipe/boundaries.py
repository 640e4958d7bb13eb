"""What a recipe may reach by itself: whose code it runs, and where it writes.

A recipe is passed around like a document. Reading is free: data and models lie where they lie. But code that comes with
a hub model is named down to the commit, since a branch may hold another program tomorrow; and a recipe writes beside
itself or where it is started. Whoever starts it can say otherwise, with --set or --output.
"""

from __future__ import annotations

import re
from pathlib import Path

from copgkit.recipe.faults import Faults
from copgkit.recipe.reading import Document, KeyPath
from copgkit.recipe.schema import CausalLMSettings, Recipe

COMMIT = re.compile(r"[0-9a-f]{40}\Z")


def check_boundaries(recipe: Recipe, document: Document, folder: Path, faults: Faults) -> None:
    """Notes a fault for code that may change unseen, and for a folder or file outside that the recipe would write."""
    _code(recipe, folder, faults)
    _place(("output",), recipe.output, document, folder, faults)
    store = recipe.scoring.store
    _place(("scoring", "store"), None if store == "cache" else store, document, folder, faults)


def _code(recipe: Recipe, folder: Path, faults: Faults) -> None:
    policy = recipe.policy
    if not isinstance(policy, CausalLMSettings) or not policy.trust_remote_code:
        return
    if not (folder / Path(policy.model).expanduser()).is_dir() and not COMMIT.match(policy.revision or ""):
        words = "code of the hub runs with your rights. Read it, then name the commit that you read: policy.revision,"
        faults.add(("policy", "trust_remote_code"), f"{words} 40 digits from 0 to f.")


def _place(path: KeyPath, given: str | None, document: Document, folder: Path, faults: Faults) -> None:
    if given is None or document.is_overridden(path):
        return
    wanted = (folder / Path(given).expanduser()).resolve()  # links are followed: what counts is where they lead
    if not any(wanted.is_relative_to(base.resolve()) for base in (folder, Path.cwd())):
        name = ".".join(map(str, path))
        words = f"'{given}' is neither below the recipe's folder nor below the current one, where a recipe may write."
        faults.add(path, f"{words} Choose another, or give it yourself: --set {name}=...")
