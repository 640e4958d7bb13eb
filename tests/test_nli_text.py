"""What `nli` does without a model: sentences, labels, and numbers from probabilities."""

import math

import pytest

from copgkit_nli.aggregation import Support, best_window, log_odds, over_sentences
from copgkit_nli.labels import Labels, UnclearLabels, read_labels
from copgkit_nli.sentences import sentences

SPLIT = {
    "It rained. We left!  Why not?": ["It rained.", "We left!", "Why not?"],
    "i like it. do you? no. never": ["i like it.", "do you?", "no.", "never"],
    "Dr. Smith met J. R. Jones vs. the U.S. team. He won.": [
        "Dr. Smith met J. R. Jones vs. the U.S. team.",
        "He won.",
    ],
    "So did I. We came at 5 p.m. Then we left, e.g. by car.": [
        "So did I.",
        "We came at 5 p.m.",
        "Then we left, e.g. by car.",
    ],
    "Bring bread, milk, etc. and 3.5 apples from shop.example.org. Thanks": [
        "Bring bread, milk, etc. and 3.5 apples from shop.example.org.",
        "Thanks",
    ],
    "See No. 5 of vol. 2. No. I will not.": ["See No. 5 of vol. 2.", "No.", "I will not."],
    "It was 1984. Then it was over.": ["It was 1984.", "Then it was over."],
    "1. First this. 2. Then that.": ["1. First this.", "2. Then that."],
    'He said "stop!" She (my boss.) stayed.': ['He said "stop!"', "She (my boss.) stayed."],
    "Well... maybe. I waited... Nothing came… OK": ["Well... maybe.", "I waited...", "Nothing came…", "OK"],
    "What?! Really :) !!! Yes.": ["What?!", "Really :) !!!", "Yes."],
    "a title\nand a line below\r\n\n- an item": ["a title", "and a line below", "- an item"],
    "no punctuation at all just words that go on": ["no punctuation at all just words that go on"],
    "it was . then it ran": ["it was .", "then it ran"],
    ":) hello": [":) hello"],
}


@pytest.mark.parametrize("text", SPLIT)
def test_sentences_end_where_a_reader_would_end_them(text):
    assert sentences(text) == SPLIT[text]


@pytest.mark.parametrize("text", SPLIT)
def test_no_letter_is_lost_between_sentences(text):
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["", " \n\t", ":)", "..."])
def test_a_text_without_words_has_no_sentence(text):
    assert sentences(text) == []


ORDERS = [
    ({0: "contradiction", 1: "entailment", 2: "neutral"}, Labels(1, 0)),
    ({0: "ENTAILMENT", 1: "NEUTRAL", 2: "CONTRADICTION"}, Labels(0, 2)),
    ({0: "Not Entailment", 1: "Entailment"}, Labels(1, None)),
    ({0: "entailment", 1: "not_entailment"}, Labels(0, None)),
    ({0: "REFUTES", 1: "NOT ENOUGH INFO", 2: "SUPPORTS"}, Labels(2, 0)),
]


@pytest.mark.parametrize(("id2label", "expected"), ORDERS)
def test_the_outputs_are_found_by_their_names_in_any_order_and_case(id2label, expected):
    assert read_labels(id2label) == expected


NAMELESS = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}


def test_the_recipe_can_name_the_outputs_of_a_checkpoint_that_does_not():
    assert read_labels(NAMELESS, {"entailment": 2, "contradiction": 0}) == Labels(2, 0)


UNCLEAR = [
    (NAMELESS, None, r"0 = LABEL_0, 1 = LABEL_1, 2 = LABEL_2.*add the option.*labels: \{entailment: 0"),
    ({0: "LABEL_0"}, None, "one output, so it looks like a reward model"),
    ({0: "joy", 1: "anger"}, None, "do not say which output means entailment"),
    ({0: "entailment", 1: "entails", 2: "neutral"}, None, "outputs 0 and 1 are both called entailment"),
    ({n: str(n) for n in range(5)}, None, "it has 5 outputs"),
    (NAMELESS, {"entailment": 3}, "`labels` says entailment: 3, but its outputs are 0 to 2"),
    (NAMELESS, {"entailment": 1, "neutral": 1}, "one index to two labels"),
]


@pytest.mark.parametrize(("id2label", "given", "words"), UNCLEAR)
def test_outputs_that_are_not_named_are_refused_with_the_fix(id2label, given, words):
    with pytest.raises(UnclearLabels, match=words):
        read_labels(id2label, given)


def test_the_window_that_supports_best_speaks_for_a_sentence():
    windows = [Support(0.2, 0.7), Support(0.6, 0.3), Support(0.6, 0.1)]
    assert best_window(windows) == Support(0.6, 0.1)


def test_sentences_count_together_as_their_mean_their_worst_or_their_product():
    assert over_sentences([0.5, 0.8, 0.2], "mean") == pytest.approx(0.5)
    assert over_sentences([0.5, 0.8, 0.2], "min") == 0.2
    assert over_sentences([0.5, 0.8, 0.2], "product") == pytest.approx(0.08)


def test_log_odds_are_symmetric_and_bounded_by_epsilon():
    assert log_odds(0.8, 0.001) == pytest.approx(math.log(4))
    assert log_odds(0.2, 0.001) == pytest.approx(-math.log(4))
    assert log_odds(1.0, 0.001) == pytest.approx(math.log(999))
    assert log_odds(0.0, 0.001) == pytest.approx(-math.log(999))
