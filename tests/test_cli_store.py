"""copgkit store: what it lists, exports and removes."""

from __future__ import annotations

import json
import sqlite3
import time

import pytest
from recipe_world import write_recipe

from copgkit import Completion, Group, Prompt, Score
from copgkit.panel import stored_identities
from copgkit.recipe import load_recipe
from copgkit.store import ScoreStore, SourceIdentity, default_store_path

DAY = 24 * 3600
CALM, OLD_CALM = (SourceIdentity("copgkit-calm", "calm", version, "{}", "code") for version in ("2.0", "1.0"))


@pytest.fixture
def store():
    """The default store with three scores of an old version, forty days old, and two of a new one."""
    store = ScoreStore(default_store_path(), print)
    fill(store, OLD_CALM, "abc")
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE scores SET written = ?", (int(time.time()) - 40 * DAY,))
    connection.close()
    fill(store, CALM, "ab")
    yield store
    store.close()


def fill(store, source, texts):
    shelf = store.shelf(lambda: source)
    prompt = Prompt("Say a letter.")
    keys = shelf.keys([Group(prompt, (Completion(prompt, text),)) for text in texts])
    shelf.keep({key: [Score(n + 0.1, {"n": n})] for n, key in enumerate(keys)})
    return keys


def rows(copgkit_command):
    return {
        (one["name"], one["version"]): one["rows"] for one in json.loads(copgkit_command("store", "list", "--json")[1])
    }


def test_list_shows_every_source_with_number_and_age(copgkit_command, store):
    status, out, err = copgkit_command("store", "list")
    assert (status, err) == (0, "")
    head, new, old = out.splitlines()
    assert head.split()[0] == "SOURCE"
    assert new.split()[0] == old.split()[0] == "calm"
    assert (new.split()[2], old.split()[2]) == ("2", "3")
    assert new.endswith("copgkit-calm 2.0")
    assert old.endswith("copgkit-calm 1.0")
    assert rows(copgkit_command) == {("calm", "2.0"): 2, ("calm", "1.0"): 3}


def test_export_gives_every_score_as_a_line_of_strict_json(copgkit_command, store):
    status, out, _ = copgkit_command("store", "export")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (status, len(lines)) == (0, 5)
    assert sorted(line["scores"][0]["value"] for line in lines) == [0.1, 0.1, 1.1, 1.1, 2.1]
    assert {line["version"] for line in lines} == {"1.0", "2.0"}
    assert all(len(bytes.fromhex(line["key"])) == 32 for line in lines)
    assert copgkit_command("store", "export", "--source", "other")[:2] == (0, "")


def test_export_goes_on_beyond_one_page(copgkit_command, store, monkeypatch):
    monkeypatch.setattr("copgkit.store.score_upkeep._ROWS_PER_QUERY", 2)
    keys = [json.loads(line)["key"] for line in copgkit_command("store", "export")[1].splitlines()]
    assert len(set(keys)) == len(keys) == 5


def test_prune_by_age_leaves_what_is_younger(copgkit_command, store):
    status, out, _ = copgkit_command("store", "prune", "--older-than", "30")
    assert status == 0
    assert out.startswith("3 rows removed; ")
    assert rows(copgkit_command) == {("calm", "2.0"): 2}


def test_prune_by_source_leaves_the_others(copgkit_command, store):
    fill(store, SourceIdentity("copgkit-wild", "wild", "1.0", "{}"), "abcd")
    assert copgkit_command("store", "prune", "--source", "calm")[1].startswith("5 rows removed; ")
    assert rows(copgkit_command) == {("wild", "1.0"): 4}
    assert copgkit_command("store", "prune", "--source", "nobody")[1].startswith("0 rows removed; ")


def test_conditions_must_all_be_met(copgkit_command, store):
    assert copgkit_command("store", "prune", "--source", "calm", "--older-than", "100")[1].startswith("0 rows removed")
    assert sum(rows(copgkit_command).values()) == 5


def test_prune_all_but_what_a_recipe_would_find(copgkit_command, store, tmp_path, monkeypatch):
    monkeypatch.setenv("COPGKIT_PLUGINS", "")
    recipe = write_recipe(tmp_path)
    (taste,) = stored_identities(load_recipe(recipe))
    kept = fill(store, taste, "abcd")
    (other,) = stored_identities(load_recipe(recipe, {"rewards[0].options.scale": 3}))
    fill(store, other, "ab")
    assert copgkit_command("store", "prune", "--all-but", recipe)[1].startswith("7 rows removed; ")
    assert len(store.find(kept)) == 4


def test_a_pruned_file_gives_its_room_back(copgkit_command, store):
    fill(store, CALM, [f"text {n}" for n in range(3000)])
    store.close()
    before = store.path.stat().st_size
    copgkit_command("store", "prune", "--source", "calm")
    assert store.path.stat().st_size < before / 5


def test_prune_without_a_condition_removes_nothing(copgkit_command, store):
    status, _, err = copgkit_command("store", "prune")
    assert status == 2
    assert "nothing says what to remove" in err
    assert sum(rows(copgkit_command).values()) == 5


def test_where_there_is_no_store_none_is_made(copgkit_command):
    status, _, err = copgkit_command("store", "list")
    assert status == 2
    assert "there is no score store yet" in err
    assert not default_store_path().exists()


def test_path_prints_where_scores_are_kept(copgkit_command):
    assert copgkit_command("store", "path")[:2] == (0, f"{default_store_path()}\n")


def test_another_file_is_looked_into_when_it_is_named(copgkit_command, tmp_path):
    store = ScoreStore(tmp_path / "mine.sqlite", print)
    fill(store, CALM, "ab")
    store.close()
    assert len(copgkit_command("store", "export", "--file", store.path)[1].splitlines()) == 2
