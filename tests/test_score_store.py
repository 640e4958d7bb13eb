"""The score store: keys that tell everything apart, files that survive damage, neighbours and foreign hands."""

from __future__ import annotations

import itertools
import math
import os
import random
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from copgkit import Completion, CopgkitError, Group, Prompt, Score
from copgkit.store import ScoreStore, SourceIdentity, default_store_path
from copgkit.store.score_keys import NotNameable, encode

SOURCE = SourceIdentity("copgkit-calm", "calm", "1.0", "options", "code")
PROMPT = Prompt("Say a letter.", facts={"tests": ["assert f(1) == 2"], "n": 3}, answer="a", origin="letters.jsonl:3")


@pytest.fixture
def store(tmp_path):
    warnings: list[str] = []
    store = ScoreStore(tmp_path / "scores.sqlite", warnings.append)
    store.warnings = warnings
    yield store
    store.close()


def shelf_of(store, source=SOURCE, **settings):
    return store.shelf(lambda: source, **settings)


def group_of(*texts, prompt=PROMPT, **more):
    return Group(prompt, tuple(Completion(prompt, text) for text in texts), **more)


def filled(store, count=100):
    """Keeps a score for each of so many completions and gives the shelf, the keys and what was kept."""
    shelf = shelf_of(store)
    keys = shelf.keys([group_of(f"text {n}") for n in range(count)])
    scores = {key: [Score(float(n), {"n": n})] for n, key in enumerate(keys)}
    shelf.keep(scores)
    return shelf, keys, scores


def test_what_was_kept_is_found_to_the_digit_with_its_notes_and_abstentions(store):
    shelf = shelf_of(store)
    key, other = shelf.keys([group_of("a"), group_of("b")])
    rows = {
        key: [Score(0.1 + 0.2, {"timeout": 1, "why": "loop \ud800 \u2028"})],
        other: [Score(-1e-300), Score.abstain("no code"), Score(0.0)],
    }
    shelf.keep(rows)
    store.close()
    assert ScoreStore(store.path, print).find([key, other, b"unknown"]) == rows
    assert store.warnings == []


def test_more_keys_than_one_query_takes_are_all_found(store):
    shelf, keys, scores = filled(store, 1234)
    assert shelf.find(keys) == scores


DIFFERENT = {
    "another text": group_of("b"),
    "two completions": group_of("a", "b"),
    "the same two the other way round": group_of("b", "a"),
    "texts cut elsewhere": group_of("ab", ""),
    "unfinished": Group(PROMPT, (Completion(PROMPT, "a", finished=False),)),
    "another prompt": group_of("a", prompt=replace(PROMPT, content="Say a word.")),
    "a conversation": group_of("a", prompt=replace(PROMPT, content=({"role": "user", "content": "Say a letter."},))),
    "another answer": group_of("a", prompt=replace(PROMPT, answer="b")),
    "no answer": group_of("a", prompt=replace(PROMPT, answer=None)),
    "another fact": group_of("a", prompt=replace(PROMPT, facts={**PROMPT.facts, "n": 4})),
    "a fact of another type": group_of("a", prompt=replace(PROMPT, facts={**PROMPT.facts, "n": 3.0})),
    "a fact that is text": group_of("a", prompt=replace(PROMPT, facts={**PROMPT.facts, "n": "3"})),
    "pair weights": group_of("a", "b", pair_weights=((0.0, 1.0), (1.0, 0.0))),
}


def test_everything_that_a_score_may_depend_on_is_in_its_key(store):
    shelf = shelf_of(store)
    keys = shelf.keys([group_of("a"), *DIFFERENT.values()])
    for change in ({"version": "1.1"}, {"name": "calmer"}, {"distribution": "x"}, {"fingerprint": "y"}, {"code": "z"}):
        keys += shelf_of(store, replace(SOURCE, **change)).keys([group_of("a")])
    assert len(set(keys)) == len(keys) == 1 + len(DIFFERENT) + 5


def test_what_a_score_cannot_depend_on_is_not_in_its_key(store):
    shelf = shelf_of(store)
    prompt = replace(PROMPT, id="7", origin="elsewhere:9", facts=dict(reversed(PROMPT.facts.items())))
    same = Group(prompt, (Completion(prompt, "a", token_ids=(1, 2), recorded_scores={"judge": 0.5}),))
    assert shelf.keys([same]) == shelf.keys([group_of("a")])
    reads = shelf_of(store, reads_recorded_scores=True)
    assert reads.keys([same]) != reads.keys([group_of("a")])


def test_no_two_contents_have_one_encoding():
    values = [
        None,
        True,
        False,
        0,
        1,
        0.0,
        -0.0,
        1.0,
        math.nan,
        "",
        "0",
        "1",
        b"1",
        [],
        [[]],
        [1],
        [1, 1],
        {},
        {"1": 1},
    ]
    values += [{1: 1}, {"1": None}, ["ab", "c"], ["a", "bc"], ["abc"], {"a": "b"}, ["a", "b"], "s1:a", 10**400, -1, 255]
    assert len({encode(value) for value in values}) == len(values)
    assert encode(("a", 1)) == encode(["a", 1])
    with pytest.raises(NotNameable):
        encode({"x": object()})


def test_random_contents_meet_only_when_they_are_equal():
    draw = random.Random(0)

    def value(depth):
        kind = draw.randrange(6 if depth else 4)
        if kind < 4:
            return draw.choice(["", "a", "ab", "1", 1, 0, 1.0, None, True])
        inner = [value(depth - 1) for _ in range(draw.randrange(4))]
        return inner if kind == 4 else {draw.choice("abc"): each for each in inner}

    seen: dict[bytes, str] = {}
    for _ in range(20_000):
        content = value(3)
        shown = _canonical(content)
        assert seen.setdefault(encode(content), shown) == shown
    assert len(set(seen.values())) == len(seen)


def _canonical(value):
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_canonical(value[key])}" for key in sorted(value)) + "}"
    return "[" + ",".join(map(_canonical, value)) + "]" if isinstance(value, list) else repr(value)


def test_a_fact_without_a_name_by_content_is_scored_every_time_and_said(store):
    odd = group_of("a", prompt=replace(PROMPT, facts={"x": object()}))
    keys = shelf_of(store).keys([odd, group_of("a")])
    assert keys[0] is None
    assert keys[1] is not None
    assert "letters.jsonl:3 has a object among its facts" in store.warnings[0]


def test_a_source_is_asked_who_it_is_once_and_not_before_it_must(store):
    asked = []

    def identify():
        asked.append(1)
        return SOURCE

    shelf = store.shelf(identify)
    assert asked == []
    for _ in range(3):
        shelf.keep({key: [Score(1.0)] for key in shelf.keys([group_of("a")])})
    assert asked == [1]


POISON = {
    "another value": "UPDATE scores SET row = replace(CAST(row AS TEXT), '3.0', '4.0')",
    "the row of another key": "UPDATE scores SET row = (SELECT row FROM scores LIMIT 1 OFFSET 3)",
    "no checksum": "UPDATE scores SET checksum = NULL",
    "text for bytes": "UPDATE scores SET row = CAST(row AS TEXT)",
    "a number for bytes": "UPDATE scores SET row = 7",
    "nothing": "UPDATE scores SET row = NULL",
}


@pytest.mark.parametrize("kind", POISON)
def test_a_row_that_is_not_what_was_written_is_a_miss(store, kind):
    shelf, keys, scores = filled(store, 10)
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute(POISON[kind])
    connection.close()
    found = shelf.find(keys)
    assert all(found[key] == scores[key] for key in found)
    assert len(found) <= 1, "only the row that was copied onto itself may stand"


def test_a_row_with_a_right_checksum_and_wrong_content_is_a_miss(store):
    from copgkit.store.score_rows import checksum

    shelf, keys, _ = filled(store, 6)
    contents = [b"[[NaN,{}]]", b"[[true,{}]]", b"[1]", b"{}", b"[[1.0]]", b'[["1",{}]]']
    with store.file._open() as connection:
        for key, row in zip(keys, contents, strict=True):
            connection.execute("UPDATE scores SET row = ?, checksum = ? WHERE key = ?", (row, checksum(key, row), key))
    assert shelf.find(keys) == {}


def test_flipped_bits_and_cut_files_never_give_a_wrong_score(store, tmp_path):
    """300 damaged copies: each finds right scores or fewer, is set aside if it is broken, and takes new scores."""
    _, keys, scores = filled(store, 400)
    store.close()
    whole, draw = store.path.read_bytes(), random.Random(1)
    set_aside = wrong = lost = 0
    for number in range(300):
        damaged = bytearray(whole)
        if number % 5 == 4:
            del damaged[draw.randrange(len(damaged)) :]
        else:
            for _ in range(draw.choice([1, 1, 8, 200])):
                damaged[draw.randrange(100 if number % 5 == 3 else len(damaged))] ^= 1 << draw.randrange(8)
        path = tmp_path / f"damaged-{number}" / "scores.sqlite"
        path.parent.mkdir()
        path.write_bytes(damaged)
        warnings: list[str] = []
        again = ScoreStore(path, warnings.append)
        found = again.find(keys)
        again.keep(SOURCE, scores)
        mended = again.find(keys)
        again.close()
        wrong += sum(scores[key] != row for rows in (found, mended) for key, row in rows.items())
        lost += len(scores) - len(mended)  # a flip in a key can hide its neighbours from a search
        set_aside += bool(warnings)
    print(f"300 damaged files: {set_aside} set aside, {lost} of {300 * len(keys)} scores not found after scoring again")
    assert wrong == 0
    assert 0 < set_aside < 300
    assert lost < 0.05 * 300 * len(keys)


def test_a_file_that_is_no_database_is_moved_aside_with_its_content(store):
    store.path.write_text("not a database, " * 100)
    shelf, keys, scores = filled(store, 3)
    assert shelf.find(keys) == scores
    assert (store.path.parent / "scores.sqlite.damaged-1").read_text().startswith("not a database")
    (warning,) = store.warnings
    assert "is damaged (file is not a database). It was moved to scores.sqlite.damaged-1" in warning


def test_damage_that_another_process_has_dealt_with_is_not_dealt_with_twice(store):
    shelf, keys, _ = filled(store, 3)
    other = ScoreStore(store.path, store.warnings.append)
    os.replace(store.path, f"{store.path}.damaged-1")  # the other process was first, and started a new file
    other.keep(SOURCE, {keys[0]: [Score(5.0)]})
    other.close()
    store.file._set_aside("seen by this process too")
    assert store.warnings == []
    assert shelf.find(keys) == {keys[0]: [Score(5.0)]}


def test_a_database_of_somebody_else_is_left_alone(store):
    with sqlite3.connect(store.path) as connection:
        connection.execute("CREATE TABLE letters (x)")
    connection.close()
    with pytest.raises(CopgkitError, match=r"holds no scores. Name another file"):
        store.find([b"k"])
    assert store.path.exists()


def test_a_place_that_cannot_be_written_costs_a_warning_and_not_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    warnings: list[str] = []
    store = ScoreStore(tmp_path / "file" / "scores.sqlite", warnings.append)
    _, keys, _ = filled(store, 3)
    assert store.find(keys) == {}
    assert "cannot be used (File exists); scores are not kept" in warnings[0] or "Not a directory" in warnings[0]


def test_a_full_disk_costs_a_warning_and_loses_nothing_that_was_kept(store):
    shelf, keys, scores = filled(store, 50)
    pages = store.file._open().execute("PRAGMA page_count").fetchone()[0]
    store.file._open().execute(f"PRAGMA max_page_count = {pages}")
    more = shelf.keys([group_of(f"another text {n}") for n in range(500)])
    shelf.keep({key: [Score(1.0)] for key in more})
    assert "cannot be used (database or disk is full); scores are not kept" in store.warnings[0]
    assert shelf.find([*keys, *more]) == scores, "all or none of a batch"


def test_a_store_that_stays_locked_costs_a_warning_and_is_still_read(store, monkeypatch):
    monkeypatch.setattr("copgkit.store.score_file._PATIENCE_SECONDS", 0.05)
    shelf, keys, scores = filled(store, 5)
    other = sqlite3.connect(store.path)
    other.execute("BEGIN IMMEDIATE")
    shelf.keep({b"k" * 32: [Score(1.0)]})
    assert "cannot be used (database is locked)" in store.warnings[0]
    assert shelf.find([*keys, b"k" * 32]) == scores
    other.close()
    shelf.keep({b"k" * 32: [Score(1.0)]})
    assert shelf.find([b"k" * 32]) == {b"k" * 32: [Score(1.0)]}


WRITER = """
import sys
from pathlib import Path
from copgkit import Score
from copgkit.store import ScoreStore, SourceIdentity
first = int(sys.argv[2])
store = ScoreStore(Path(sys.argv[1]), lambda text: sys.exit(text))
for start in range(first, first + 1000, 10):
    rows = {number.to_bytes(32, "big"): [Score(float(number))] for number in range(start, start + 10)}
    assert store.find(list(rows)) in ({}, rows)
    store.keep(SourceIdentity("d", "n", "1", f"writer {first}"), rows)
"""


def test_several_processes_write_at_once_and_nothing_is_lost(store):
    starts = (0, 500, 1000, 1500)  # half of what each writes is written by another, too
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(store.path), str(n)]) for n in starts]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * len(starts)
    keys = [number.to_bytes(32, "big") for number in range(2500)]
    assert store.find(keys) == {key: [Score(float(number))] for number, key in enumerate(keys)}
    assert store.warnings == []


def test_the_default_place_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("COPGKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_store_path() == tmp_path / "xdg" / "copgkit" / "scores.sqlite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store_path() == tmp_path / ".cache" / "copgkit" / "scores.sqlite"
    monkeypatch.setenv("COPGKIT_CACHE", str(tmp_path / "own"))
    assert default_store_path() == tmp_path / "own" / "scores.sqlite"


def test_keys_do_not_change_from_one_release_to_the_next(store):
    """A golden key: changing the encoding would make every stored score invisible without a word."""
    (key,) = shelf_of(store).keys([group_of("a")])
    assert key.hex() == "63a018dd6e1cc430aa98d78ccbd0b0f2876ef8e0264946aed59770ddbe44d393"


def test_all_pairs_of_distinct_groups_have_distinct_keys(store):
    shelf = shelf_of(store)
    texts = ["", "a", "b", "aa", "ab", '"a"', "a\x00", "\ud800"]
    groups = [group_of(*pair) for pair in itertools.product(texts, texts)]
    assert len(set(shelf.keys(groups))) == len(texts) ** 2
