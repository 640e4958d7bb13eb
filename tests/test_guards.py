"""The guards: numbers worked out by hand."""

import time

import pytest
from pydantic import ValidationError

from copgkit import Completion, Context, DataError, Prompt
from copgkit_guards import CopyRate, Form, Length
from copgkit_guards.copying import copied_spans

POST = "My neighbour keeps a very loud dog. I don't know what to do about it, please help me."


def _values(source, *texts, post=POST, finished=True):
    prompt = Prompt("TL;DR:", facts={"post": post}, origin="posts.jsonl:5")
    return [score.value for score in source.score([Completion(prompt, text, finished=finished) for text in texts])]


def test_length_costs_one_for_each_word_outside_the_range():
    source = Length(Length.Options(minimum=3, maximum=5))
    assert _values(source, "", "one, two", "one - two three!", "a b c d e", "a b c d e f g") == [-3, -1, 0, 0, -2]
    assert _values(Length(Length.Options(minimum=2)), "a", "a " * 500) == [-1, 0]


@pytest.mark.parametrize("options", [{"minimum": 6, "maximum": 5}, {}])
def test_a_range_that_holds_no_length_or_every_length_is_refused(options):
    with pytest.raises(ValidationError, match=r"no length is right|nothing to guard"):
        Length.Options(**options)


def _copy(**options):
    return CopyRate(CopyRate.Options(prompt_from="facts.post", **options), Context("copied"))


COPIED = {
    "": 0,
    "A stranger wrote this.": 0,
    "keeps a very": 0,  # three words are no span of four
    "keeps a very loud": 1,
    POST: 1,
    "He KEEPS a very, loud pet": 4 / 6,
    "my neighbour keeps a, and i don’t know what next": 8 / 10,
    "a very loud dog I don't know what": 1,  # it goes on across the sentence
    "a very loud cat a very loud dog": 4 / 8,
    "dog loud very a keeps": 0,
}


@pytest.mark.parametrize("text", COPIED)
def test_the_copy_rate_is_the_share_of_words_in_spans_of_the_source(text):
    assert _values(_copy(), text) == [pytest.approx(COPIED[text])]
    assert _values(_copy(sign=-1), text) == [pytest.approx(-COPIED[text])]


def test_the_longest_copied_span_is_told():
    prompt = Prompt("", facts={"post": "a b c d e f x a b c q"})
    (score,) = _copy(span_words=2).score([Completion(prompt, "a b z b c d e y a b c q")])
    assert score.value == pytest.approx(10 / 12)
    assert score.notes == {"longest-span": 4}


def test_copied_spans_are_those_that_a_search_for_every_substring_finds():
    import random

    generator = random.Random(0)
    for _ in range(200):
        source = [generator.choice("abc") for _ in range(generator.randint(0, 14))]
        words = [generator.choice("abc") for _ in range(generator.randint(0, 10))]
        size = generator.randint(1, 4)
        stands = {tuple(source[i:j]) for i in range(len(source)) for j in range(i + 1, len(source) + 1)}
        spans = [
            range(i, j)
            for i in range(len(words))
            for j in range(i + size, len(words) + 1)
            if tuple(words[i:j]) in stands
        ]
        expected = {end: max(len(span) for span in spans if span.stop == end) for end in {span.stop for span in spans}}
        assert {span.stop: len(span) for span in copied_spans(words, source, size)} == expected


def test_copying_is_found_in_time_that_grows_with_the_length_of_the_texts():
    words = [str(number) for number in range(100_000)]
    start = time.process_time()
    assert _values(_copy(), " ".join(words[50_000:]), post=" ".join(words)) == [1]
    assert time.process_time() - start < 5


def test_a_prompt_without_the_source_text_is_named():
    with pytest.raises(DataError, match=r"posts\.jsonl:5: reward source 'copied' asks for the text 'facts\.body'"):
        _values(CopyRate(CopyRate.Options(prompt_from="facts.body"), Context("copied")), "a")


FAULTS = {
    "": "empty",
    " ... ": "empty",
    "I need help.": None,
    "Is that so?": None,
    'He said "no!"': None,
    "(It rained.)": None,
    "i need help": "open",
    "help, please,": "open",
    "the new new new newbie.": None,  # the run "new new new" stands there once
    "no no no no no.": "loop",
    "de le lechee de le lechee de le lechee.": "loop",
    "i am a cat and i am a dog.": None,
    "I am a cat, I am a dog, I am a bird": "loop",
}
TABLE = {"empty": -4.0, "unfinished": -3.0, "loop": -2.0, "open": -1.0, "well_formed": 1.0}


@pytest.mark.parametrize("text", FAULTS)
def test_the_first_fault_of_form_gives_the_value(text):
    (score,) = Form(Form.Options(**TABLE)).score([Completion(Prompt("p"), text)])
    assert score.value == TABLE[FAULTS[text] or "well_formed"]
    assert score.notes.get("fault") == FAULTS[text]


def test_a_completion_without_end_of_sequence_is_unfinished_unless_it_is_empty():
    assert _values(Form(Form.Options(**TABLE)), "It rained.", "no no no no no", "", finished=False) == [-3, -3, -4]


def test_what_counts_as_a_loop_can_be_set():
    strict = Form(Form.Options(loop_words=1, loop_repeats=2))
    assert _values(strict, "so, so.", "so it is.") == [-1, 0]


def test_no_guard_minds_an_empty_batch():
    for source in (Length(Length.Options(minimum=1)), _copy(), Form()):
        assert source.score([]) == []
