"""The reward source `plain-words`: few long words are better.

    rewards: [{use: plain-words, options: {longest: 7}}]

It counts letters, so that it knows nothing of words that are short and rare.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydantic import Field

from copgkit import Completion, RewardSource, Score, hookimpl


class PlainWordsReward(RewardSource):
    """Minus the share of long words; nothing to say of a text without words."""

    class Options(RewardSource.Options):
        longest: int = Field(7, ge=1, description="Letters that a plain word may have.")

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        """One score per completion, in order: from -1 to 0."""
        return [self._score_one(completion) for completion in completions]

    def _score_one(self, completion: Completion) -> Score:
        words = re.findall(r"[^\W\d_]+", completion.text)
        if not words:
            return Score.abstain("the text holds no words")
        long = sum(len(word) > self.options.longest for word in words)
        return Score(-long / len(words), {"long-words": float(long)})


@hookimpl
def register_reward_sources(register: Callable[[str, type[RewardSource]], None]) -> None:
    """Announces `plain-words`."""
    register("plain-words", PlainWordsReward)
