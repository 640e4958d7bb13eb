"""The contract of a reward source, and what this one promises beyond it."""

import pytest
from copgkit_plain_words import PlainWordsReward

from copgkit import Completion, Prompt
from copgkit.testing import RewardSourceContract

PROMPT = Prompt("Why is the sky blue?")


class TestPlainWordsReward(RewardSourceContract):
    """Every rule of the contract is one test."""

    component = PlainWordsReward
    options = {"longest": 5}
    abstains_on = [Completion(PROMPT, ""), Completion(PROMPT, "1, 2, 3!")]


def test_one_long_word_of_four_costs_a_quarter():
    (score,) = PlainWordsReward().score([Completion(PROMPT, "Sunlight gets scattered, mostly.")])
    assert score.value == pytest.approx(-2 / 4)
    (score,) = PlainWordsReward().score([Completion(PROMPT, "Air bends blue scattering.")])
    assert score.value == pytest.approx(-1 / 4)
