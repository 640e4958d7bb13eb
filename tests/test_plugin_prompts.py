"""The prompt sources: every shape of data that is read as it is, and a named place for every fault."""

import gzip
import json
from pathlib import Path

import pytest

import copgkit
from copgkit import Context, DataError, Recorded
from copgkit_prompts.sources import HubDataset, JsonLines, Parquet

REDDIT = Path(__file__).parents[2] / "shared/data/reddit-tldr/tldr_valid.jsonl.gz"


@pytest.fixture
def source(tmp_path):
    """Makes a `jsonl` source of the given rows (objects, or lines as they are) and options."""

    def make(*rows, **options):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
        return JsonLines(JsonLines.Options(path="rows.jsonl", **options), Context("jsonl", tmp_path))

    return make


def _only(made):
    (prompt,) = made.load()
    return prompt


def test_a_prompt_alone_keeps_id_facts_and_answer(source):
    prompt = _only(source({"prompt": "Why?", "id": 7, "facts": {"a": 1}, "answer": "Because."}))
    assert (prompt.content, prompt.id, prompt.facts, prompt.answer) == ("Why?", "7", {"a": 1}, "Because.")
    assert prompt.origin == "rows.jsonl:1"


def test_facts_of_different_rows_keep_their_own_keys(source):
    first, second = source({"prompt": "a", "facts": {"x": 1}}, {"prompt": "b", "facts": {"y": None}}).load()
    assert (first.facts, second.facts) == ({"x": 1}, {"y": None})


def test_messages_are_a_conversation_and_its_last_assistant_turn_is_the_answer(source):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    prompt = _only(source({"messages": turns}))
    assert prompt.content == (turns[0],)
    assert prompt.answer == "Hello"


def test_scored_groups_in_either_form_are_the_same(source):
    objects = {"prompt": "p", "completions": [{"text": "a", "scores": {"s": 1}}, {"text": "b", "scores": {"s": 0.0}}]}
    columns = {"prompt": "p", "completions": ["a", "b"], "scores": {"s": [1, 0.0]}}
    first, second = source(objects, columns).load()
    assert first.recorded == second.recorded == (Recorded("a", {"s": 1.0}), Recorded("b", {"s": 0.0}))


def test_stored_token_ids_and_unfinished_completions_come_back(source):
    row = {"prompt": "p", "completions": [{"text": "a", "token_ids": [5, 6], "finished": False}, "b"]}
    assert _only(source(row)).recorded[0] == Recorded("a", {}, (5, 6), False)


PREFERENCES = {
    "plain": {"prompt": "p", "chosen": "good", "rejected": "bad"},
    "plain, prompt repeated": {"prompt": "p", "chosen": "pgood", "rejected": "pbad"},
    "conversation": {
        "prompt": [{"role": "user", "content": "p"}],
        "chosen": [{"role": "assistant", "content": "good"}],
        "rejected": [{"role": "assistant", "content": "bad"}],
    },
    "conversation, prompt implied": {
        "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "good"}],
        "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "bad"}],
    },
}


@pytest.mark.parametrize("form", PREFERENCES)
def test_preference_data_is_read_as_it_is(source, form):
    prompt = _only(source(PREFERENCES[form]))
    assert prompt.recorded == (Recorded("good", {"preference": 1.0}), Recorded("bad", {"preference": 0.0}))
    assert prompt.content == "p" or prompt.content == ({"role": "user", "content": "p"},)


def test_a_template_makes_the_prompt_and_braces_in_the_data_are_text(source):
    prompt = _only(source({"title": "{x}", "post": "a {b} c"}, template="{title}: {post}", facts_fields=["post"]))
    assert prompt.content == "{x}: a {b} c"
    assert prompt.facts == {"post": "a {b} c"}


def test_a_list_in_a_template_gives_a_line_for_each_item(source):
    row = {"text": "Add.", "test_list": ["assert f(1) == 2", "assert f(2) == 3"]}
    prompt = _only(source(row, template="{text}\n{test_list}"))
    assert prompt.content == "Add.\nassert f(1) == 2\nassert f(2) == 3"


def test_a_plain_prompt_becomes_the_users_turn_where_the_model_chats(source):
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}]
    plain, conversation = source({"prompt": "p"}, {"prompt": turns}, as_conversation=True).load()
    assert plain.content == ({"role": "user", "content": "p"},)
    assert conversation.content == tuple(turns)


FAULTS = {
    "not JSON": ("{", r"rows\.jsonl:2: this line is not JSON"),
    "not an object": ([1], "not an object with fields"),
    "no prompt": ({"text": "x"}, r"rows\.jsonl:2: no field 'prompt'. The row has: text"),
    "empty prompt": ({"prompt": "  "}, r"rows\.jsonl:2: the prompt is empty"),
    "empty message": ({"prompt": [{"role": "user", "content": ""}]}, "the prompt is empty"),
    "prompt of a wrong type": ({"prompt": 3}, "neither a text nor a list of messages"),
    "message without content": ({"messages": [{"role": "user"}]}, "'role' and 'content'"),
    "score that is NaN": (
        '{"prompt": "p", "completions": [{"text": "a", "scores": {"s": NaN}}]}',
        "completion 1: .*nan",
    ),
    "score that is true": ({"prompt": "p", "completions": [{"text": "a", "scores": {"s": True}}]}, "'s' is True"),
    "too few scores": ({"prompt": "p", "completions": ["a", "b"], "scores": {"s": [1]}}, "1 scores for 2 completions"),
    "completion without text": ({"prompt": "p", "completions": [{}]}, "completion 1: neither a text"),
    "different prompts": (
        {
            "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
        },
        "must share all turns",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_row_is_named(source, fault):
    row, message = FAULTS[fault]
    with pytest.raises(DataError, match=message) as caught:
        list(source({"prompt": "fine"}, row).load())
    assert "rows.jsonl:2" in str(caught.value)


def test_a_field_that_a_template_wants_is_named_with_those_there_are(source):
    with pytest.raises(DataError, match=r"the template asks for 'body'.*The row has: post"):
        list(source({"post": "x"}, template="{body}").load())


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "train.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"no file trian\.jsonl .* Did you mean 'train\.jsonl'"):
        list(JsonLines(JsonLines.Options(path="trian.jsonl"), Context("jsonl", tmp_path)).load())


def test_limit_shuffle_and_length_choose_rows_and_counting_is_cheap(source):
    rows = [{"prompt": "word " * (n + 1)} for n in range(10)]
    assert len(list(source(*rows, limit=3).load())) == source(*rows, limit=3).count() == 3
    shuffled = [prompt.origin for prompt in source(*rows, shuffle_seed=1).load()]
    assert shuffled != sorted(shuffled)
    assert shuffled == [prompt.origin for prompt in source(*rows, shuffle_seed=1).load()]
    assert len(list(source(*rows, max_words=4).load())) == 4


def test_gzip_files_are_read_as_they_are(tmp_path):
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.write('{"prompt": "a"}\n{"prompt": "b"}\n')
    made = JsonLines(JsonLines.Options(path="rows.jsonl.gz"), Context("jsonl", tmp_path))
    assert made.count() == 2
    assert [prompt.content for prompt in made.load()] == ["a", "b"]


def test_parquet_and_folder_datasets_give_the_same_prompts(tmp_path, write_jsonl):
    import datasets

    rows = [{"prompt": "a", "answer": "x"}, {"prompt": "b", "answer": "y"}]
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "rows.parquet"))
    parquet = Parquet(Parquet.Options(path="rows.parquet"), Context("parquet", tmp_path))
    assert parquet.count() == 2
    (tmp_path / "set").mkdir()
    (tmp_path / "rows.parquet").rename(tmp_path / "set/train.parquet")
    hub = HubDataset(HubDataset.Options(dataset="set"), Context("hub", tmp_path))
    from_hub = [(prompt.content, prompt.answer) for prompt in hub.load()]
    again = Parquet(Parquet.Options(path="set/*.parquet"), Context("parquet", tmp_path))
    assert from_hub == [(prompt.content, prompt.answer) for prompt in again.load()] == [("a", "x"), ("b", "y")]


def test_a_dataset_that_cannot_be_had_says_so_in_one_line(tmp_path):
    hub = HubDataset(HubDataset.Options(dataset="nobody/nothing"), Context("hub", tmp_path))
    with pytest.raises(DataError, match="'nobody/nothing', split 'train', cannot be loaded"):
        list(hub.load())


@pytest.mark.skipif(not REDDIT.exists(), reason="real data is not beside this checkout")
def test_real_posts_are_read_through_a_template():
    options = JsonLines.Options(
        path=REDDIT.name, template="TITLE: {title}\n\nPOST: {post}\n\nTL;DR:", answer_field="summary", limit=50
    )
    prompts = list(JsonLines(options, Context("jsonl", REDDIT.parent)).load())
    assert len(prompts) == 50
    assert all(prompt.answer and prompt.text.endswith("TL;DR:") for prompt in prompts)
    assert isinstance(prompts[0], copgkit.Prompt)
