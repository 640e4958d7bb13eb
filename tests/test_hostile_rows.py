"""Hostile data: every row is read, or refused with file and line; nothing but the project's own errors comes out."""

import gzip
import json
import math
import random
import re
import tracemalloc

import pytest

from copgkit import (
    Completion,
    Context,
    CopgkitError,
    DataError,
    GenerationSettings,
    Group,
    ModelError,
    Progress,
    Prompt,
    SamplerContext,
)
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.store import read_groups
from copgkit_prompts.sources import JsonLines, Parquet
from copgkit_samplers.recorded import RecordedSampler

TURNS = [{"role": "user", "content": "the cat ?"}]
BASES = [
    {"prompt": "the cat sat", "id": "1", "facts": {"n": [1, {"deep": True}]}, "answer": "on the mat"},
    {
        "prompt": "the cat",
        "completions": ["sat", "ran ."],
        "scores": {"judge": [1.0, 0.5]},
        "pair_weights": [[0, 1], [1, 0]],
    },
    {
        "prompt": TURNS,
        "completions": [
            {
                "text": "sat",
                "scores": {"judge": 1.0},
                "token_ids": [5, 2],
                "finished": True,
                "notes": {"judge": {"a": 1}},
            },
            {"text": "ran", "scores": {"judge": None, "other": {"failed": "why"}}, "recorded_scores": {"old": 2}},
        ],
    },
    {
        "chosen": [*TURNS, {"role": "assistant", "content": "a"}],
        "rejected": [*TURNS, {"role": "assistant", "content": "b"}],
    },
    {"messages": [*TURNS, {"role": "assistant", "content": "mat"}], "facts": {}},
]
STRANGE = [
    None, True, False, 0, -1, 3.5, math.nan, math.inf, 10**400, "", " ", "\0", "\ud800", "nan", "1e999", "../../etc/x",
    "{n}", "{n.__class__}", "%s%n", "\x1b[2J\r\u202e", "<eos>", "a b " * 500, [], {}, [[]], {"": None}, [None, None],
    {"text": 3},
]  # fmt: skip


def _places(value, at=()):
    """Every place inside a row."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*at, key)
        yield from _places(inner, (*at, key))


def _changed(row, chance):
    """The row with something at one place replaced, removed or added."""
    row = json.loads(json.dumps(row))
    *path, last = chance.choice(list(_places(row)))
    holder = row
    for key in path:
        holder = holder[key]
    what = chance.random()
    if what < 0.7:
        holder[last] = chance.choice(STRANGE)
    elif what < 0.85:
        del holder[last]
    elif isinstance(holder, dict):
        holder[chance.choice(["text", "tekst", "scores", "\0", "../x", "prompt"])] = chance.choice(STRANGE)
    else:
        holder.insert(last, chance.choice(STRANGE))
    return row


def _damaged(line, chance):
    """The bytes of a line with something done to them that a writer of JSON would not do."""
    at = chance.randrange(len(line))
    return chance.choice(
        [
            lambda: line[:at],
            lambda: line[:at] + bytes([chance.randrange(256)]) + line[at + 1 :],
            lambda: b"\xef\xbb\xbf" + line,
            lambda: line + b"\r",
            lambda: line[:at] + b"\r\n" + line[at:],
            lambda: line[:at] + b"\xef\xbb\xbf" + line[at:],
            lambda: line[:at] + b"[" * 3000 + line[at:],
            lambda: b'{"prompt": "p", "facts": ' + b'{"a":' * 3000 + b"1" + b"}" * 3001,
            lambda: line.replace(b'"prompt"', b'"prompt": "twice", "prompt"'),
            lambda: b'{"prompt": ' + b"9" * 5000 + b"}",
            lambda: b"\0" * 20,
        ]
    )()


def _encoded(folder, policy):
    prompts = list(JsonLines(JsonLines.Options(path="rows.jsonl"), Context("jsonl", folder)).load())
    if any(len(prompt.recorded) < 2 for prompt in prompts):
        return [policy.fits(prompt) for prompt in prompts]  # its completions would be generated
    return policy.encode(RecordedSampler(context=SamplerContext(prompts=prompts)).draw(None))


def _fault_of(work):
    """The words of the project's own error, if there is one; any other exception is the test's to show."""
    try:
        work()
    except CopgkitError as fault:
        return str(fault)
    return None


@pytest.fixture(scope="module")
def policy(tiny_policy_folder):
    policy = CausalLMPolicy.load(str(tiny_policy_folder), max_prompt_tokens=16, max_completion_tokens=8)
    policy.codec.tokenizer.chat_template = "{% for turn in messages %}{{ turn.role }} : {{ turn.content }} {% endfor %}"
    return policy


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_damage_gives_a_row_or_an_error_with_file_and_line(tmp_path, policy, count):
    chance, file = random.Random(count), tmp_path / "rows.jsonl"
    refused = 0
    for number in range(count):
        row = chance.choice(BASES)
        for _ in range(chance.randrange(1, 4)):
            row = _changed(row, chance) if list(_places(row)) else row
        line = json.dumps(row).encode()
        file.write_bytes((_damaged(line, chance) if chance.random() < 0.3 else line) + b"\n")
        fault = _fault_of(lambda: _encoded(tmp_path, policy))
        refused += fault is not None
        # A line may have been broken in two, or cut down to nothing.
        named = (
            fault is None
            or re.search(r"rows\.jsonl:[12]", fault)
            or (not file.read_bytes().strip() and "no prompt" in fault)
        )
        assert named, (number, line, fault)
        assert len(list(tmp_path.iterdir())) == 1
    assert count / 10 < refused < count * 9 / 10, refused


def test_a_file_without_line_ends_is_refused_before_it_fills_the_memory(tmp_path):
    with (tmp_path / "rows.jsonl").open("wb") as file:
        file.write(b'{"prompt": "fine"}\n{"prompt": "' + b"x" * 50_000_000 + b'"}\n')
    rows = iter(JsonLines(JsonLines.Options(path="rows.jsonl"), Context("jsonl", tmp_path))._rows())
    assert next(rows)[1] == {"prompt": "fine"}
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"rows.jsonl:2: the line is longer than 16 MiB"):
            next(rows)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


def _gzip_cut(path):
    path.write_bytes(gzip.compress(b'{"prompt": "fine"}\n' * 9999)[:-20])


def _gzip_flipped(path):
    packed = bytearray(gzip.compress(random.Random(0).randbytes(5000).hex().encode()))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)


@pytest.mark.parametrize("damage", [_gzip_cut, _gzip_flipped, lambda path: path.write_bytes(b"no gzip at all")])
def test_a_damaged_gzip_file_is_named(tmp_path, damage):
    damage(tmp_path / "rows.jsonl.gz")
    with pytest.raises(DataError, match=r"rows.jsonl.gz:\d+: "):
        list(JsonLines(JsonLines.Options(path="rows.jsonl.gz"), Context("jsonl", tmp_path)).load())


def test_a_damaged_parquet_file_is_named_whatever_is_flipped(tmp_path):
    from pyarrow import Table, parquet

    parquet.write_table(
        Table.from_pylist([{"prompt": f"the cat {n} é"} for n in range(50)]), tmp_path / "whole.parquet"
    )
    whole, chance, refused = (tmp_path / "whole.parquet").read_bytes(), random.Random(0), 0
    for _ in range(60):
        broken = bytearray(whole)
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        (tmp_path / "rows.parquet").write_bytes(broken)
        fault = _fault_of(
            lambda: list(Parquet(Parquet.Options(path="rows.parquet"), Context("parquet", tmp_path)).load())
        )
        refused += fault is not None
        assert fault is None or "rows.parquet" in fault
    assert refused > 10


def test_an_empty_file_and_one_of_blank_lines_give_no_prompts(tmp_path):
    for content in (b"", b"\n \r\n\n", b"\xef\xbb\xbf\n"):
        (tmp_path / "rows.jsonl").write_bytes(content)
        assert list(JsonLines(JsonLines.Options(path="rows.jsonl"), Context("jsonl", tmp_path)).load()) == []


def test_half_a_character_is_refused_where_a_tokenizer_would_fail(tmp_path, policy):
    for row in (
        {"prompt": "the \ud800", "completions": ["a", "b"]},
        {"prompt": "the", "completions": ["a", "b \udfff"]},
    ):
        (tmp_path / "rows.jsonl").write_text(json.dumps(row))
        prompts = JsonLines(JsonLines.Options(path="rows.jsonl"), Context("jsonl", tmp_path)).load()
        groups = RecordedSampler(context=SamplerContext(prompts=prompts)).draw(None)
        with pytest.raises(DataError, match=r"rows.jsonl:1, .* half a character \(U\+D"):
            policy.encode(groups)


def test_a_deep_line_of_scored_groups_is_named(tmp_path):
    (tmp_path / "g.jsonl").write_text("[" * 5000 + "\n")
    with pytest.raises(DataError, match=r"g.jsonl:1: the line is not strict JSON"):
        list(read_groups(tmp_path / "g.jsonl"))


def test_an_id_is_a_name_and_nothing_else(tmp_path):
    told = Progress()
    rows = [{"prompt": "the cat", "id": "../../x"}, {"prompt": "the dog", "id": "../../x"}, {"prompt": "a", "id": ""}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    context = Context("jsonl", tmp_path, progress=told)
    assert len(list(JsonLines(JsonLines.Options(path="rows.jsonl"), context).load())) == 3
    (warning,) = told.warnings
    assert "1 rows have the id of an earlier one (rows.jsonl:1 and rows.jsonl:2: '../../x')" in warning


FAILING = {
    "the template says so": "{{ raise_exception('roles must alternate') }}",
    "it divides by zero": "{{ 1 / 0 }}",
    "it misses a turn": "{{ messages[3].content.x }}",
    "it is no template": "{% if %}",
    "it reaches out": "{{ ().__class__.__base__.__subclasses__() }}",
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_chat_template_that_fails_names_the_row(policy, monkeypatch, kind):
    monkeypatch.setattr(policy.codec.tokenizer, "chat_template", FAILING[kind])
    prompt = Prompt(({"role": "user", "content": kind},), origin="rows.jsonl:7")
    with pytest.raises(ModelError, match=r"rows.jsonl:7: the chat template does not take this conversation \(\w+Error"):
        policy.codec.prompt_ids(prompt)


def test_a_prompt_too_long_is_left_out_and_one_of_marks_alone_is_kept(policy):
    long, marks = Prompt("the cat sat on the mat " * 3), Prompt("<bos><eos>")
    groups = [Group(one, (Completion(one, "sat"), Completion(one, "ran"))) for one in (long, marks)]
    kept, report = policy.encode(groups)
    assert [group.prompt for group in kept] == [marks]
    assert report.prompts_too_long == 1


def test_a_tokenizer_without_a_pad_token_serves(tiny_policy_folder, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_policy_folder, tmp_path / "no-pad")
    for name in ("tokenizer_config.json", "special_tokens_map.json", "config.json", "generation_config.json"):
        if (folder / name).exists():
            held = json.loads((folder / name).read_text())
            held.pop("pad_token", None)
            held.pop("pad_token_id", None)
            (folder / name).write_text(json.dumps(held))
    with_pad, without = (CausalLMPolicy.load(str(one), max_prompt_tokens=16) for one in (tiny_policy_folder, folder))
    assert without.codec.tokenizer.pad_token is None
    prompts = [Prompt("the cat sat"), Prompt("the dog")]
    settings = GenerationSettings(max_tokens=6)
    drawn = [policy.generate(prompts, 3, settings) for policy in (with_pad, without)]
    assert drawn[0] == drawn[1]
    groups = [Group(prompt, tuple(row)) for prompt, row in zip(prompts, drawn[0], strict=True)]
    assert with_pad.log_probs(groups).tolist() == without.log_probs(groups).tolist()
