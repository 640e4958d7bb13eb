"""The reward source `length`: minus the distance in words from a target range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from copgkit import Completion, RewardSource, Score
from copgkit_guards.words import words_of


class Length(RewardSource):
    """Zero within a range of words, minus one for each word outside it; the weight is the price of a word."""

    stored = False

    class Options(RewardSource.Options):
        minimum: int = Field(0, ge=0, description="Words; fewer cost one each.")
        maximum: int | None = Field(None, ge=1, description="Words; more cost one each. No limit if not given.")

        @model_validator(mode="after")
        def _is_a_range(self) -> Self:
            if self.maximum is not None and self.maximum < self.minimum:
                raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}, so that no length is right")
            if self.maximum is None and not self.minimum:
                raise ValueError("give minimum or maximum, or there is nothing to guard")
            return self

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One score per completion, at most 0. Notes: its words."""
        return [self._score(len(words_of(completion.text))) for completion in completions]

    def _score(self, words: int) -> Score:
        missing = self.options.minimum - words
        beyond = 0 if self.options.maximum is None else words - self.options.maximum
        return Score(-float(max(0, missing, beyond)), {"words": float(words)})
