"""Strict YAML: what is written is what is meant, and every fault names its line."""

from __future__ import annotations

import pytest
import yaml

from copgkit.errors import RecipeError
from copgkit.recipe.reading import LARGEST_FILE, leaves, parse, read_document


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-6", 1e-6),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("+7", 7),
        ("0", 0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("True", "True"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("=", "="),
    ],
)
def test_a_plain_value_means_what_it_looks_like(written, meant):
    value = parse(f"key: {written}", "r.yaml").data["key"]
    assert value == meant
    assert type(value) is type(meant)


def test_keys_are_text_even_where_yaml_sees_a_boolean_or_a_number():
    assert parse("on: 1\n2: x\nnull: y", "r.yaml").data == {"on": 1, "2": "x", "null": "y"}


def test_a_repeated_key_names_both_lines():
    with pytest.raises(RecipeError, match=r"^r\.yaml:4: b\.c: the key is given twice, first on line 3\."):
        parse("a: 1\nb:\n  c: 2\n  c: 3\n", "r.yaml")


def test_every_key_and_value_knows_its_line():
    document = parse("a:\n  1\nb:\n  - x\n  - {c: 2}\n", "r.yaml")
    assert document.line(("a",), of_key=True) == 1
    assert document.line(("a",)) == 2
    assert document.line(("b", 1)) == 5
    assert document.line(("b", 1, "c")) == 5
    assert document.line(("b", 1, "absent", "deeper")) == 5, "a value that is absent stands where its parent does"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\tb: 1", "r.yaml:2: a tab"),
        ("a: !!python/object x", "r.yaml:1: a tag"),
        ("a: &x [*x]", "r.yaml:1: a[0]: an alias that contains itself"),
        ("a: 1\n<<: b", "r.yaml:2: << takes a mapping"),
        ("a: 1\n<<: {b: 2}\n<<: {c: 2}", "r.yaml:3: <<: the key is given twice"),
        ("a: 1\n---\nb: 2", "r.yaml:2: a second document"),
        ("a: 1\nb: [1, 2", "r.yaml:2: "),
        ("a: 1\nb: c: d", "r.yaml:2: a second `: `"),
        ("a: *x", "r.yaml:1: found undefined alias"),
        ("a: 1\n? [b]\n: c", "r.yaml:2: a key that is itself a list"),
        ("a: 1e999", "r.yaml:1: a: 1e999 is larger"),
        ("a: 1\nb: \x01", "r.yaml:2: it contains the control character 0x01"),
        ("[" * 3000, "r.yaml: it is nested too deeply"),
    ],
)
def test_a_fault_names_file_and_line(text, message):
    with pytest.raises(RecipeError) as fault:
        parse(text, "r.yaml")
    assert str(fault.value).startswith(message)


def test_aliases_that_blow_up_are_refused_before_they_are_written_out():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    with pytest.raises(RecipeError, match="more than 20000 values"):
        parse(bomb, "r.yaml")


def test_a_merge_brings_keys_that_are_not_there_with_the_lines_where_they_stand():
    document = parse("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  y: 5\n  <<: [*a, *b]", "r.yaml")
    assert document.data["c"] == {"y": 5, "x": 1, "z": 4}
    assert [document.line(("c", key)) for key in "xyz"] == [1, 4, 2]


def test_an_anchor_may_be_used_twice():
    assert parse("a: &x {b: 1}\nc: *x", "r.yaml").data == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \xff", r":2: it is not UTF-8"),
        (b"", r": it is empty"),
        (b"# nothing but a comment\n", r": it is empty"),
        (b"- a\n- b\n", r":1: the top level is a list of 2"),
        (b"#" * (LARGEST_FILE + 1), r": it is larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, message):
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        read_document(path, "r.yaml")


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "tldr.yaml").write_text("a: 1")
    with pytest.raises(RecipeError, match=r"no such file\. Did you mean '.*tldr\.yaml'"):
        read_document(tmp_path / "tdlr.yaml", "tdlr.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_document(path, "r.yaml").data == {"a": 1}


def test_text_that_yaml_1_1_would_misread_is_what_this_reader_is_for():
    assert yaml.safe_load("a: no\nb: 12:30\nc: 010") == {"a": False, "b": 750, "c": 8}
    assert parse("a: no\nb: 12:30\nc: 010", "r.yaml").data == {"a": "no", "b": "12:30", "c": "010"}


def test_a_list_of_plain_values_is_one_leaf():
    assert list(leaves({"a": [1, 2], "b": [{"c": 3}], "d": {}})) == [
        (("a",), [1, 2]),
        (("b", 0, "c"), 3),
        (("d",), {}),
    ]
