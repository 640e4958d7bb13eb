"""Distributions that strangers wrote, installed as pip installs them: found, described, checked, and used in a run.

One is the tests' own, the other is what the tutorial on reward plugins ends with.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    not (find_spec("pip") and find_spec("setuptools")), reason="needs pip and setuptools beside copgkit"
)


@pytest.fixture(scope="module")
def copgkit(tmp_path_factory):
    """copgkit("plugins", ...) with tests/foreign_plugin and the tutorial's package installed: the ended process."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    sources = [
        str(
            copytree(
                ROOT / folder, source / Path(folder).name, ignore=ignore_patterns("*-info", "build", "__pycache__")
            )
        )
        for folder in ("tests/foreign_plugin", "docs/examples/plain-words")
    ]
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, *sources], check=True)

    def call(*arguments, **environment):
        paths = [str(target), str(ROOT), str(ROOT / "plugins")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), **environment}
        command = [sys.executable, "-m", "copgkit", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return call


def test_it_is_found_with_name_distribution_and_version(copgkit):
    (item,) = json.loads(copgkit("plugins", "--json", COPGKIT_PLUGINS="copgkit-calm").stdout)["components"]
    assert (item["name"], item["plugin"]) == ("calm", "calm")
    assert (item["distribution"], item["version"]) == ("copgkit-calm", "2.1.0")


def test_each_keeps_the_contract(copgkit):
    for name, option, owner in [
        ("calm", "tolerated=0", "copgkit-calm 2.1.0"),
        ("plain-words", "longest=3", "copgkit-plain-words 0.1.0"),
    ]:
        ended = copgkit("plugins", "check", name, "--options", option)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stdout.startswith(f"reward source '{name}' ({owner}) keeps all ")


def test_a_recipe_uses_them_by_name_and_the_run_says_whose_they_are(copgkit, tmp_path, tiny_policy_folder):
    rows = [{"prompt": "the cat", "completions": ["sat on the mat", "SAT on the MAT"]}] * 2
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        f"policy: {{model: {tiny_policy_folder}, max_prompt_tokens: 16}}\n"
        "prompts: {use: jsonl, options: {path: posts.jsonl}}\n"
        "sampler: {use: recorded}\nobjective: {beta: 0.1}\n"
        "rewards: [{use: calm, options: {tolerated: 0.2}}, {use: plain-words, options: {longest: 2}}]\n"
    )
    ended = copgkit("run", tmp_path / "recipe.yaml", "--output", tmp_path / "out", "--quiet")
    assert ended.returncode == 0, ended.stderr
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["components"]["rewards[0]"] == "calm (copgkit-calm 2.1.0)"
    assert record["components"]["rewards[1]"] == "plain-words (copgkit-plain-words 0.1.0)"
    group = json.loads((tmp_path / "out/groups/round-0000.jsonl").read_text().splitlines()[0])
    assert [one["scores"]["plain-words"] for one in group["completions"]] == [pytest.approx(-3 / 4)] * 2
    assert [one["scores"]["calm"] for one in group["completions"]] == [0.0, pytest.approx(0.2 - 6 / 11)]
