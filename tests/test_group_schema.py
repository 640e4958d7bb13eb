"""The schema of scored groups says what is written, and refuses what is refused when it is read."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from test_store_groups import scored_group

from copgkit import Score
from copgkit.cli import main
from copgkit.store import group_schema, write_groups
from copgkit.store.group_schema import CompletionRow, GroupRow

ROOT = Path(__file__).parents[1]


def test_what_is_written_is_what_the_schema_says(tmp_path):
    recorded = {"column": 0.1, "other": Score.failed("away")}
    steps = {"mapped": {"nli": [0.5, None, 1.0]}, "weighted": {"nli": [1 / 3, None, 0.0]}}
    write_groups(tmp_path / "groups.jsonl", [scored_group(text="a", recorded=recorded, **steps), scored_group(text="")])
    for line in (tmp_path / "groups.jsonl").read_text().splitlines():
        row = GroupRow.model_validate_json(line, strict=True)
        assert json.loads(row.model_dump_json(exclude_unset=True)) == json.loads(line)


def test_the_documented_row_is_what_the_schema_says():
    (row,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/scored-groups.md").read_text(), flags=re.S)
    assert len(GroupRow.model_validate_json(row, strict=True).completions) == 2


FAULTS = {
    "no prompt": {"completions": []},
    "a score as text": {"prompt": "p", "completions": [{"text": "a", "scores": {"x": "1"}}]},
    "a score that is true": {"prompt": "p", "completions": [{"text": "a", "scores": {"x": True}}]},
    "a failure without a reason": {"prompt": "p", "completions": [{"text": "a", "scores": {"x": {}}}]},
    "a completion without text": {"prompt": "p", "completions": [{"scores": {}}]},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_wrong_by_the_schema_too(fault):
    with pytest.raises(ValidationError):
        GroupRow.model_validate_json(json.dumps(FAULTS[fault]), strict=True)


def test_every_key_is_described_in_the_schema_and_in_words(capsys):
    with pytest.raises(SystemExit):
        main(["schema", "--groups"])
    printed = json.loads(capsys.readouterr().out)
    assert printed == group_schema()
    properties = printed["properties"] | printed["$defs"]["CompletionRow"]["properties"]
    assert all(field["description"] for field in properties.values())
    words = (ROOT / "docs/scored-groups.md").read_text()
    for key in (*GroupRow.model_fields, *CompletionRow.model_fields):
        assert f"`{key}`" in words
