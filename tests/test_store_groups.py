"""Scored groups on disk: the round trip is exact, and damage is named by file and line."""

import json
import math
from dataclasses import replace

import pytest

from copgkit import Completion, Context, DataError, Group, Message, Prompt, Score, ScoredGroup
from copgkit.store import read_groups, write_groups
from copgkit_prompts.sources import JsonLines, Parquet


def scored_group(content="the post", text="a\u2028b \ud800 \x1b[31m", recorded=None, **changes):
    prompt = Prompt(content, id="7", facts={"tests": ["assert f(1) == 2"], "n": 3}, answer="known good")
    completions = (
        Completion(prompt, text, (5, 0, 2), True, recorded or {"column": 0.1}),
        Completion(prompt, "", None, False),
        Completion(prompt, "c", (), True),
    )
    weights = ((0.0, 1.0, 0.5), (1.0, 0.0, 0.25), (0.5, 0.25, 0.0))
    scores = {
        "nli": [Score(0.1 + 0.2), Score(0.0, {"timeout": 1.0, "why": "loop"}), Score(-1e-300)],
        "judge": [Score.failed("no sandbox"), Score.abstain("not a program"), Score(3)],
    }
    return replace(ScoredGroup(Group(prompt, completions, weights), scores, (1 / 3, -2.5, 1e22)), **changes)


def without_origin(scored):
    """The same with the prompt's origin erased: it is where the prompt was read, so reading changes it."""
    prompt = replace(scored.group.prompt, origin="")
    completions = tuple(replace(completion, prompt=prompt) for completion in scored.group.completions)
    return replace(scored, group=replace(scored.group, prompt=prompt, completions=completions))


@pytest.mark.parametrize(
    "content", ["the post", (Message(role="user", content="hi"), Message(role="assistant", content="ho"))]
)
def test_the_round_trip_is_exact(tmp_path, content):
    path = tmp_path / "round-0000.jsonl"
    groups = [scored_group(content), scored_group(rewards=(), scores={})]
    write_groups(path, groups)
    again = list(read_groups(path))
    assert [without_origin(scored) for scored in again] == groups
    assert [scored.group.prompt.origin for scored in again] == ["round-0000.jsonl:1", "round-0000.jsonl:2"]


def test_mapped_and_weighted_values_come_back_to_the_digit(tmp_path):
    path = tmp_path / "groups.jsonl"
    mapped, weighted = {"nli": [0.1 + 0.2, None, -1e-300]}, {"nli": [1 / 3, None, 0.0], "judge": [None, None, 7.5]}
    group = scored_group(mapped=mapped, weighted=weighted)
    write_groups(path, [group])
    assert [without_origin(scored) for scored in read_groups(path)] == [group]
    row = json.loads(path.read_text())
    assert row["completions"][0]["mapped"] == {"nli": 0.1 + 0.2}
    assert row["completions"][2]["weighted"] == {"nli": 0.0, "judge": 7.5}
    assert "mapped" not in json.loads(_written(tmp_path, scored_group()))["completions"][0]


def _written(folder, group):
    write_groups(folder / "one.jsonl", [group])
    return (folder / "one.jsonl").read_text()


@pytest.mark.parametrize(
    "content", ["the post", (Message(role="user", content="hi"), Message(role="assistant", content="ho"))]
)
def test_the_round_trip_through_parquet_is_exact(tmp_path, content):
    path = tmp_path / "groups.parquet"
    recorded = {"column": 0.1, "other": Score.failed("away"), "third": Score(0.5, {"why": "so"})}
    steps = {"mapped": {"nli": [0.1 + 0.2, None, 1.0]}, "weighted": {"nli": [1 / 3, None, 0.0]}}
    whole = scored_group(content, text="a\u2028b \x1b[31m", recorded=recorded, **steps)
    groups = [whole, scored_group(content, text="", rewards=(), scores={})] * 200
    write_groups(path, groups)
    again = list(read_groups(path))
    assert [without_origin(scored) for scored in again] == groups
    assert again[-1].group.prompt.origin == "groups.parquet:400"
    assert [file.name for file in tmp_path.iterdir()] == ["groups.parquet"]


def test_what_parquet_cannot_hold_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "groups.parquet"
    for groups, words in (
        ([scored_group()], "7: a text holds half a character .* Write JSON lines"),
        ([scored_group(text="a"), scored_group((Message(role="user", content="hi"),), text="a")], "7: some prompts of"),
        ([scored_group(text="a", rewards=(math.nan, 0.0, 0.0))], "7: .*finite"),
    ):
        with pytest.raises(DataError, match=words):
            write_groups(path, groups)
    assert list(tmp_path.iterdir()) == []


def test_a_score_that_is_null_in_a_struct_of_parquet_is_missing_and_no_abstention(tmp_path):
    from datasets import Dataset

    rows = [
        {"prompt": "p", "completions": [{"text": "a", "scores": {"x": 1.0}}, {"text": "b", "scores": {"y": 0.0}}]},
    ]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "foreign.parquet"))
    (prompt,) = Parquet(Parquet.Options(path="foreign.parquet"), Context(name="parquet", folder=tmp_path)).load()
    assert [dict(one.scores) for one in prompt.recorded] == [{"x": 1.0}, {"y": 0.0}]


def test_a_score_is_a_number_null_or_a_failure(tmp_path):
    path = tmp_path / "groups.jsonl"
    write_groups(path, [scored_group()])
    row = json.loads(path.read_text())
    assert [one["scores"]["judge"] for one in row["completions"]] == [{"failed": "no sandbox"}, None, 3]
    assert row["completions"][1]["notes"]["judge"] == {"abstained": "not a program"}
    assert [one["token_ids"] for one in row["completions"]] == [[5, 0, 2], None, []]


@pytest.mark.parametrize("source", [JsonLines, Parquet])
def test_the_prompt_sources_read_what_was_written(tmp_path, source):
    name = "groups.jsonl" if source is JsonLines else "groups.parquet"
    write_groups(tmp_path / name, [scored_group(text="a")])
    (prompt,) = source(source.Options(path=name), Context(folder=tmp_path)).load()
    assert [dict(one.scores) for one in prompt.recorded] == [
        {"column": 0.1, "nli": 0.1 + 0.2, "judge": Score.failed("no sandbox")},
        {"nli": Score(0.0, {"timeout": 1.0, "why": "loop"}), "judge": Score.abstain("not a program")},
        {"nli": -1e-300, "judge": 3},
    ]
    assert prompt.recorded_weights == scored_group().group.pair_weights
    assert [one.token_ids for one in prompt.recorded] == [(5, 0, 2), None, ()]
    assert dict(prompt.facts) == {"tests": ["assert f(1) == 2"], "n": 3}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused_and_no_file_appears(tmp_path, bad):
    path = tmp_path / "groups.jsonl"
    for group in (
        scored_group(rewards=(bad, 0.0, 0.0)),
        scored_group(scores={"nli": [Score(bad), Score(1), Score(1)]}),
    ):
        with pytest.raises(DataError, match=r"7: .*finite"):
            write_groups(path, [group])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_value_of_a_table_among_the_facts_becomes_null(tmp_path):
    group = scored_group()
    prompt = replace(group.group.prompt, facts={"label": math.nan, "deep": [{"x": math.inf}]})
    write_groups(tmp_path / "groups.jsonl", [replace(group, group=replace(group.group, prompt=prompt))])
    (again,) = read_groups(tmp_path / "groups.jsonl")
    assert dict(again.group.prompt.facts) == {"label": None, "deep": [{"x": None}]}


def test_groups_are_read_and_written_one_at_a_time(tmp_path):
    path = tmp_path / "groups.jsonl"
    write_groups(path, (scored_group() for _ in range(3)))
    with path.open("a") as file:
        file.write("rubbish\n")
    reader = read_groups(path)
    assert len([next(reader) for _ in range(3)]) == 3
    with pytest.raises(DataError, match=r"groups\.jsonl:4: "):
        next(reader)


FAULTS = {
    "cut off": '{"id": "7", "prompt"',
    "not an object": "[1, 2]",
    "a key is missing": '{"id": "7"}',
    "NaN": '{"id": "7", "prompt": "p", "rewards": [NaN]}',
    "no text": '{"id": "", "prompt": "", "facts": {}, "answer": null, "completions": [3]}',
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_line_that_is_no_scored_group_is_named(tmp_path, fault):
    path = tmp_path / "groups.jsonl"
    write_groups(path, [scored_group()])
    with path.open("a") as file:
        file.write(FAULTS[fault] + "\n")
    with pytest.raises(DataError, match=r"groups\.jsonl:2: "):
        list(read_groups(path))


@pytest.mark.parametrize("scores", [{"nli": 1.0}, {"nli": 1.0, "judge": "good"}, {"nli": True, "judge": 1}])
def test_scores_that_do_not_match_are_named(tmp_path, scores):
    path = tmp_path / "groups.jsonl"
    write_groups(path, [scored_group()])
    row = json.loads(path.read_text())
    row["completions"][2]["scores"] = scores
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"groups\.jsonl:1: not a scored group .*(judge|good|True)"):
        list(read_groups(path))
