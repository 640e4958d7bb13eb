"""A distribution that strangers wrote, installed as pip installs it: found, described, checked, and used in a run."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    not (find_spec("pip") and find_spec("setuptools")), reason="needs pip and setuptools beside copgkit"
)


@pytest.fixture(scope="module")
def copgkit(tmp_path_factory):
    """copgkit("plugins", ...) with tests/foreign_plugin installed: the ended process."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for file in ("pyproject.toml", "calm_reward.py"):
        (source / file).write_text((ROOT / "tests/foreign_plugin" / file).read_text())
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, str(source)], check=True)

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


def test_it_keeps_the_contract(copgkit):
    ended = copgkit("plugins", "check", "calm", "--options", "tolerated=0")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("reward source 'calm' (copgkit-calm 2.1.0) keeps all ")


def test_a_recipe_uses_it_by_name_and_the_run_says_whose_it_is(copgkit, tmp_path, tiny_policy_folder):
    rows = [{"prompt": "the cat", "completions": ["sat on the mat", "SAT on the MAT"]}] * 2
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(
        f"policy: {{model: {tiny_policy_folder}, max_prompt_tokens: 16}}\n"
        "prompts: {use: jsonl, options: {path: posts.jsonl}}\n"
        "sampler: {use: recorded}\nrewards: [{use: calm, options: {tolerated: 0.2}}]\nobjective: {beta: 0.1}\n"
    )
    ended = copgkit("run", tmp_path / "recipe.yaml", "--output", tmp_path / "out", "--quiet")
    assert ended.returncode == 0, ended.stderr
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["components"]["rewards[0]"] == "calm (copgkit-calm 2.1.0)"
    group = json.loads((tmp_path / "out/groups/round-0000.jsonl").read_text().splitlines()[0])
    assert [one["scores"]["calm"] for one in group["completions"]] == [0.0, pytest.approx(0.2 - 6 / 11)]
