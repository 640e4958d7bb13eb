"""Odd environments: no home, another locale, few descriptors, strange names. The result is the same to the bit."""

import json
import os
import resource
import subprocess
import sys

import pytest

ROWS = [{"prompt": f"Wähle {n}.", "completions": ["a", "ü"], "scores": {"s": [1, 0]}} for n in range(12)]


def _world(folder):
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), "utf-8")
    (folder / "r.yaml").write_text(
        "policy: {use: tabular, arms: [a, ü]}\n"
        "prompts: {use: jsonl, options: {path: rows.jsonl}}\n"
        "sampler: {use: recorded}\n"
        "rewards: [{use: recorded, options: {column: s}}]\n"
        "train: {groups_per_step: 4, epochs: 2, learning_rate: 0.1}\n"
        "evaluate: {prompts: {use: jsonl, options: {path: rows.jsonl}}, with: [{use: kl}]}\n",
        "utf-8",
    )
    return folder


def _run(folder, few_files=None, mask=None, **environment):
    """The bits that a run leaves: weights, metrics, groups."""

    def narrowed():
        if few_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (few_files, few_files))
        if mask is not None:
            os.umask(mask)

    kept = {name: value for name, value in os.environ.items() if name not in environment}
    given = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-m", "copgkit", "run", "r.yaml", "-o", "out", "-q"]
    done = subprocess.run(
        command, cwd=folder, env=kept | given, capture_output=True, text=True, errors="replace", preexec_fn=narrowed
    )
    assert done.returncode == 0, done.stderr
    left = ("model/tabular.json", "metrics.jsonl", "groups/round-0000.jsonl")
    return {name: (folder / "out" / name).read_bytes() for name in left}


ODD = {
    "C locale": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "no home": {"HOME": "/nonexistent", "XDG_CACHE_HOME": None},
    "another seed of hashes": {"PYTHONHASHSEED": "12345"},
    "100 files": {"few_files": 100},
    "umask 077": {"mask": 0o077},
    "another time zone": {"TZ": "Pacific/Kiritimati"},
    "no terminal": {"TERM": "dumb", "COLUMNS": "1"},
}
ALL = {name: value for odd in ODD.values() for name, value in odd.items()}


@pytest.mark.parametrize("kind", ["all at once", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ODD)])
def test_a_run_is_the_same_in_an_odd_environment(tmp_path, kind):
    import copgkit

    usual = copgkit.run(_world(tmp_path / "usual") / "r.yaml", output=tmp_path / "usual/out").folder
    odd = _run(_world(tmp_path / "ödd\udcff name"), **(ALL if kind == "all at once" else ODD[kind]))
    assert odd == {name: (usual / name).read_bytes() for name in odd}


def test_a_cache_that_cannot_be_written_is_said_and_the_run_goes_on(tmp_path, monkeypatch):
    import copgkit

    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COPGKIT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("copgkit.report.html.run_figures", lambda rows, curves: [])
    (tmp_path / "reward.py").write_text("def score(completion):\n    return float(len(completion.encode()))\n")
    recipe = _world(tmp_path / "w") / "r.yaml"
    recipe.write_text(
        recipe.read_text("utf-8").replace(
            "{use: recorded, options: {column: s}}", "{use: python, options: {file: ../reward.py}}"
        ),
        "utf-8",
    )
    result = copgkit.run(recipe, output=tmp_path / "out")
    assert result.steps == 6
    assert any("score store" in warning for warning in result.warnings)
