"""`copgkit inspect`: what it takes for groups, what it prints, and that files are read without torch."""

import json
import subprocess
import sys

import pytest
import yaml

from copgkit import Completion, Group, Prompt, Score, ScoredGroup
from copgkit.store import write_groups


def run_folder(path, count=3, beta=0.25):
    """A run folder with one round of groups and the resolved recipe it came from."""
    groups = []
    for n in range(count):
        prompt = Prompt(f"p{n}")
        pair = tuple(Completion(prompt, text, (1, 2, 3, 4)) for text in ("a", "b"))
        groups.append(ScoredGroup(Group(prompt, pair), {"judge": [Score(0.0), Score(1.0)]}, (0.0, 1.0)))
    (path / "groups").mkdir(parents=True)
    write_groups(path / "groups" / "round-0000.jsonl", groups)
    (path / "resolved.yaml").write_text(yaml.safe_dump({"objective": {"use": "copg", "beta": beta}}))
    return path


@pytest.mark.parametrize("part", ["", "groups", "groups/round-0000.jsonl"])
def test_a_run_its_groups_and_one_file_of_them_know_the_runs_beta(copgkit_command, tmp_path, part):
    status, out, _ = copgkit_command("inspect", run_folder(tmp_path / "run") / part, "--json")
    data = json.loads(out)
    assert (status, data["groups"], data["beta"]) == (0, 3, 0.25)
    assert data["nats"] == pytest.approx(0.5**0.5 / 0.25)
    assert data["advice"]["beta"] == 0.35
    given = json.loads(copgkit_command("inspect", tmp_path / "run" / part, "--beta", "0.5", "--json")[1])
    assert given["beta"] == 0.5


def test_preference_pairs_are_groups_of_two_with_the_score_preference(copgkit_command, write_jsonl):
    file = write_jsonl("pairs.jsonl", [{"prompt": "p", "chosen": "a long answer", "rejected": "short"}] * 2)
    status, out, err = copgkit_command("inspect", file)
    assert status == 0
    assert "source preference" in out
    assert "no rewards in it" in err


def test_completions_without_a_number_are_left_out_and_counted(copgkit_command, write_jsonl):
    texts = [{"text": "a", "scores": {"judge": 1.0}}, {"text": "b", "scores": {"judge": {"failed": "x"}}}]
    rows = [{"prompt": "p", "completions": [*texts, {"text": "c", "scores": {"judge": 2.0}}]}]
    status, out, err = copgkit_command("inspect", write_jsonl("scored.jsonl", rows))
    assert status == 0
    assert "of 2 completions" in out
    assert "1 completions have no score" in err


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_window(copgkit_command, tmp_path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = copgkit_command("inspect", run_folder(tmp_path / "run"), "-o", tmp_path / "page.html")
    lines = [line for line in out.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= width
    assert "--set objective.beta=0.17,0.35,0.7" in out
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_what_is_not_there_is_refused_with_a_remedy(copgkit_command, tmp_path):
    (tmp_path / "empty").mkdir()
    for target, said in (("absent.jsonl", "no such file"), ("empty", "no groups in it")):
        status, _, err = copgkit_command("inspect", tmp_path / target)
        assert status == 2
        assert said in err


def test_a_recipe_that_generates_is_inspected_by_its_newest_run(copgkit_command, tmp_path, monkeypatch, write_jsonl):
    monkeypatch.chdir(tmp_path)
    write_jsonl("posts.jsonl", [{"prompt": "p"}])
    (tmp_path / "r.yaml").write_text(
        "policy: {model: owner/name}\nprompts: {use: jsonl, options: {path: posts.jsonl}}\nsampler: {use: reference}\n"
        "rewards: [{use: length, options: {maximum: 3}}]\nobjective: {beta: 0.5}\n"
    )
    status, _, err = copgkit_command("inspect", "r.yaml")
    assert status == 2
    assert "holds no run" in err
    run_folder(tmp_path / "runs" / "r", count=1)
    run_folder(tmp_path / "runs" / "r-2", count=2)
    data = json.loads(copgkit_command("inspect", "r.yaml", "--json")[1])
    assert (data["groups"], data["beta"]) == (2, 0.5)


def test_a_recipe_with_data_of_its_own_is_scored_by_its_rewards(copgkit_command, tmp_path, write_jsonl):
    completions = [{"text": "one two three four"}, {"text": "one"}]
    write_jsonl("mine.jsonl", [{"prompt": "p", "completions": completions}])
    (tmp_path / "words.py").write_text("def score(completion):\n    return len(completion.split())\n")
    (tmp_path / "r.yaml").write_text(
        "policy: {model: owner/name}\nprompts: {use: jsonl, options: {path: mine.jsonl}}\nsampler: {use: recorded}\n"
        "rewards: [{use: python, weight: 2, options: {file: words.py}}]\n"
    )
    status, out, _ = copgkit_command("inspect", tmp_path / "r.yaml", "--json")
    data = json.loads(out)
    assert (status, data["reward"]["spread"], data["unit"]) == (0, 6.0, "words")


def test_groups_are_inspected_without_torch(tmp_path):
    code = (
        "import sys; from copgkit.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "inspect", str(run_folder(tmp_path / "run")), "-o", str(tmp_path / "i.html")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines()[-1] == "0 False", ended.stderr
