"""Every recipe in `recipes/` is read, checked against its plugins and written back."""

from __future__ import annotations

from pathlib import Path

import pytest

from copgkit.recipe import load_recipe, to_yaml

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_recipes():
    assert "tldr.yaml" in [path.name for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_resolves_and_reads_back_to_itself(path, tmp_path):
    resolved = load_recipe(path)
    for beside in ("assets", *(file.name for file in FOLDER.glob("*.py"))):
        (tmp_path / beside).symlink_to(FOLDER / beside)
    (tmp_path / "resolved.yaml").write_text(to_yaml(resolved), encoding="utf-8")
    assert load_recipe(tmp_path / "resolved.yaml").recipe == resolved.recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_opens_by_saying_what_it_is_and_how_to_launch_it(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    opening = [line for line in lines[:12] if line.startswith("#")]
    assert len(opening[0]) > 20
    assert any(f"copgkit run recipes/{path.name}" in line for line in opening)
