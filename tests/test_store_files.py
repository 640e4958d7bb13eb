"""The run folder, the journal, samples and provenance: whole files, strict JSON, nothing overwritten or leaked."""

import hashlib
import json
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from copgkit import Completion, CopgkitError, DataError, Prompt, Sample, Score
from copgkit.store import (
    Journal,
    RunFolder,
    collect,
    file_hash,
    plugin_versions,
    read_metrics,
    read_samples,
    write_samples,
)
from copgkit.store.provenance import shown_path
from copgkit.store.run_folder import write_whole


def test_a_folder_that_holds_something_is_left_alone_and_the_next_free_name_is_taken(tmp_path):
    wanted = tmp_path / "runs" / "tldr"
    folders = [RunFolder.create(wanted).path for _ in range(3)]
    assert [folder.name for folder in folders] == ["tldr", "tldr-2", "tldr-3"]


def test_an_empty_folder_is_used_and_a_file_of_that_name_is_not_touched(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("precious")
    assert RunFolder.create(tmp_path / "empty").path.name == "empty"
    assert RunFolder.create(tmp_path / "file").path.name == "file-2"
    assert (tmp_path / "file").read_text() == "precious"


def test_without_a_fresh_name_a_folder_in_use_is_refused(tmp_path):
    RunFolder.create(tmp_path / "out", fresh_name=False)
    with pytest.raises(CopgkitError, match="out: there is something under this name already"):
        RunFolder.create(tmp_path / "out", fresh_name=False)


def test_the_current_folder_is_a_possible_wish(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    (here / "recipe.yaml").write_text("")
    monkeypatch.chdir(here)
    assert RunFolder.create(Path(".")).path == tmp_path / "here-2"


def test_a_place_where_nothing_can_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CopgkitError, match=r"file/run: the run folder cannot be made .*--output"):
        RunFolder.create(tmp_path / "file" / "run")


def test_a_write_that_fails_half_way_leaves_the_old_content_and_no_draft(tmp_path):
    path = tmp_path / "run.json"
    write_whole(path, ["old"])

    def pieces():
        yield "new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, pieces())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_what_is_read_line_endings_included(tmp_path):
    folder = RunFolder.create(tmp_path / "out")
    folder.write_recipe("a: 1\r\nb: ü\n")
    assert (folder.path / "recipe.yaml").read_bytes() == "a: 1\r\nb: ü\n".encode()


def test_metrics_come_back_with_every_digit_and_what_is_not_finite(tmp_path):
    rows = [{"step": 0, "eval/kl/mean": 0.1 + 0.2}, {"step": 1, "a": math.nan, "b": math.inf, "c": -math.inf}]
    journal = Journal(tmp_path / "metrics.jsonl")
    for row in rows:
        journal.append(row)
    again = read_metrics(journal.path)
    assert again[0] == rows[0]
    assert isinstance(again[0]["step"], int)
    assert math.isnan(again[1]["a"])
    assert (again[1]["b"], again[1]["c"]) == (math.inf, -math.inf)


def test_the_metrics_file_is_strict_json(tmp_path):
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.append({"step": 1, "a": math.nan})

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(journal.path.read_text(), parse_constant=refuse) == {"step": 1, "a": "nan"}


@pytest.mark.parametrize("tail", ['{"step": 2, "a": 0.', '{"st', '{"a": "\N{BULLET}'.encode()[:-1].decode("latin-1")])
def test_a_last_line_that_a_kill_has_cut_off_is_left_out(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + tail.encode("latin-1"))
    assert read_metrics(path) == [{"step": 1}]


def test_damage_before_the_last_line_is_named_by_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: "):
        read_metrics(path)


def test_samples_survive_text_that_breaks_naive_readers(tmp_path):
    text = "line\u2028separator \x85 and \x0b, a lone \ud800 surrogate, \x1b[31mred, </script>"
    prompt = Prompt("p", id="7")
    ours = Sample(Completion(prompt, text, finished=False), {"nli": Score.failed("timeout")}, None, math.nan)
    theirs = Sample(Completion(prompt, "fine"), {"nli": Score(0.25)}, 0.5, 0.0)
    path = tmp_path / "samples.jsonl"
    write_samples(path, 4, [ours], [theirs])
    write_samples(path, 8, [theirs], [theirs])
    first, second = read_samples(path)
    assert (first["step"], first["completion"], first["finished"]) == (4, text, False)
    assert (first["scores"], first["reference_scores"]) == ({"nli": {"failed": "timeout"}}, {"nli": 0.25})
    assert (first["reward"], first["reference_reward"]) == (None, 0.5)
    assert math.isnan(first["log_ratio"])
    assert second["completion"] == second["reference_completion"] == "fine"


def test_the_hash_of_a_file_is_its_sha256_and_that_of_a_folder_follows_names_and_content(tmp_path):
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"abc")
    assert file_hash(folder / "deep" / "weights") == hashlib.sha256(b"abc").hexdigest()
    before = file_hash(folder)
    (folder / "deep" / "weights").rename(folder / "deep" / "weight")
    renamed = file_hash(folder)
    (folder / "deep" / "weight").write_bytes(b"abd")
    assert len({before, renamed, file_hash(folder)}) == 3


def test_provenance_says_what_ran_and_nothing_about_who_ran_it(tmp_path, monkeypatch):
    home = tmp_path / "home" / "someone"
    (home / "data").mkdir(parents=True)
    (home / "work").mkdir()
    recipe = home / "work" / "tldr.yaml"
    recipe.write_text("version: 1\n")
    (home / "work" / "posts.jsonl").write_text("{}\n")
    (home / "data" / "secret.jsonl").write_text("{}\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("API_KEY", "sk-hidden")
    named = {
        "prompts.options.path": "posts.jsonl",
        "evaluate.prompts.options.path": str(home / "data" / "secret.jsonl"),
        "prompts.use": "jsonl",
        "prompts.options.template": "x" * 5000,
    }
    record = collect(recipe, named, seed=3, started=datetime.now(UTC) - timedelta(seconds=90))
    assert record["hashes"] == {
        "recipe": hashlib.sha256(b"version: 1\n").hexdigest(),
        "prompts.options.path: posts.jsonl": hashlib.sha256(b"{}\n").hexdigest(),
        "evaluate.prompts.options.path: .../secret.jsonl": hashlib.sha256(b"{}\n").hexdigest(),
    }
    assert 90 <= record["seconds"] < 120
    assert record["started"] < record["finished"]
    assert record["versions"].keys() >= {"python", "copgkit", "torch", "transformers"}
    text = json.dumps(record)
    assert "someone" not in text
    assert "sk-hidden" not in text


def test_the_distribution_of_the_first_party_plugins_is_listed():
    assert "copgkit" in plugin_versions()


def test_paths_are_shown_from_the_recipe_or_from_here_and_never_from_above(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "recipes" / "a" / "b", tmp_path / "recipes") == "a/b"
    assert shown_path(tmp_path / "models" / "x", tmp_path / "recipes") == "models/x"
    assert shown_path(Path("/elsewhere/of/somebody/x"), tmp_path / "recipes") == ".../x"


def test_the_store_imports_nothing_heavy():
    code = "import sys, copgkit.store; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
