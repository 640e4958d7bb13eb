"""What every component can ask of its base class and of its context."""

import pytest

from copgkit import Completion, Context, DataError, Prompt, RewardSource, Score


class Silent(RewardSource):
    """Says nothing."""

    def score(self, completions: list[Completion]) -> list[Score]:
        return [Score.abstain() for _ in completions]


PROMPT = Prompt("Summarise.", facts={"post": "A long post.", "year": 1900}, answer="Short.", origin="posts.jsonl:7")


def test_a_component_finds_the_text_that_an_option_names():
    source = Silent(context=Context("silent"))
    assert source.text_of(PROMPT) == "Summarise."
    assert source.text_of(PROMPT, "answer") == "Short."
    assert source.text_of(PROMPT, "facts.post") == "A long post."


@pytest.mark.parametrize("where", ["facts.title", "facts.year"])
def test_a_text_that_a_prompt_does_not_have_is_refused_with_what_it_has(where):
    words = rf"^posts\.jsonl:7: reward source 'silent' asks for the text '{where}', .* Its facts: post, year\.$"
    with pytest.raises(DataError, match=words):
        Silent(context=Context("silent")).text_of(PROMPT, where)


def test_equal_contents_of_prompts_have_one_key_which_never_changes():
    """Random numbers are named by it, so that another form of it would draw other completions."""
    turns = ({"role": "user", "content": 'Say "a".'},)
    assert Prompt("é\n", id="1").content_key == Prompt("é\n", id="2").content_key == '"\\u00e9\\n"'
    assert Prompt(turns).content_key == r'[{"role": "user", "content": "Say \"a\"."}]' != Prompt(str(turns)).content_key


def test_the_digest_of_a_model_follows_its_weights_configuration_and_tokenizer_alone(tmp_path):
    context = Context(folder=tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    seen = [context.digest("model")]
    for name in ("model.safetensors", "config.json", "tokenizer.json", "vocab.txt"):
        (model / name).write_text("a")
        seen.append(context.digest("model"))
        (model / name).write_text("b")
        seen.append(context.digest("model"))
    assert len(set(seen)) == 9
    (model / "README.md").write_text("more words")
    assert context.digest("model") == seen[-1]
    assert context.digest("owner/name") is None
