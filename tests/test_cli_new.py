"""copgkit new: the package that it writes passes its own tests and is used by name in a recipe."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from copgkit.cli import main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def new(capsys, tmp_path, monkeypatch):
    """new("reward", "brief") -> exit status, standard output, standard error; written into tmp_path."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["new", *arguments])
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return call


def _python(folder, *arguments, **environment):
    paths = [str(folder), str(ROOT), str(ROOT / "plugins")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), **environment}
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _announce(package, name):
    """What an installer leaves beside a package: its metadata and its entry points."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = package / f"copgkit_{name.replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{key} = {value}\n" for key, value in project["entry-points"]["copgkit"].items())
    (info / "entry_points.txt").write_text("[copgkit]\n" + points)


@pytest.mark.parametrize(("kind", "name"), [("reward", "short-answers"), ("sampler", "score")])
def test_the_package_passes_its_own_tests_and_is_used_by_name(new, tmp_path, kind, name, tiny_policy_folder):
    status, out, _ = new(kind, name)
    assert status == 0
    assert f"cd {name} && pip install" in out
    package = tmp_path / name
    tests = _python(package, "pytest", "-q", "-p", "no:cacheprovider")
    assert tests.returncode == 0, tests.stdout + tests.stderr
    (passed,) = re.findall(r"(\d+) passed", tests.stdout)
    assert int(passed) > 20, "one test for each rule, and one of its own"
    _announce(package, name)
    (tmp_path / "posts.jsonl").write_text('{"prompt": "the cat"}\n')
    sampler, reward = ("reference", name) if kind == "reward" else (name, "python, options: {file: r.py}")
    (tmp_path / "r.yaml").write_text(
        f"policy: {{model: {tiny_policy_folder}}}\nprompts: {{use: jsonl, options: {{path: posts.jsonl}}}}\n"
        f"sampler: {{use: {sampler}}}\nrewards: [{{use: {reward}}}]\nobjective: {{beta: 0.1}}\ntrain: {{steps: 2}}\n"
    )
    checked = _python(package, "copgkit", "check", tmp_path / "r.yaml")
    assert checked.returncode == 0, checked.stderr
    assert f"{name}  (copgkit-{name} 0.1.0)" in checked.stdout


FAULTS = {
    "no kebab-case": ("Short_Answers", "is not a name for a reward source. Use kebab-case"),
    "a path": ("../x", "is not a name"),
    "there already": ("here", "something of this name here already"),
    "a component's name": ("reward-model", "copgkit 0.1.0 has a reward source of this name"),
    "a module's name": ("prompts", "module copgkit_prompts would hide one that is installed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(new, tmp_path, fault):
    name, message = FAULTS[fault]
    (tmp_path / "here").mkdir()
    status, _, err = new("reward", name)
    assert status == 2
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert list((tmp_path / "here").iterdir()) == []
