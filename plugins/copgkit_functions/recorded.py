"""The reward source `recorded`: a column of scores that came with the data."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import ClassVar

from pydantic import Field

from copgkit import Completion, DataError, RewardSource, Score
from copgkit_functions.values import finite_number, named


class RecordedScore(RewardSource):
    """A score that came with the data: one of the numbers under `scores` of a recorded completion.

    A completion without one is a failure, never a zero. Generated completions, those of the evaluation among them, have
    none.
    """

    stored: ClassVar[bool] = False  # it is in the data already
    reads_recorded_scores: ClassVar[bool] = True

    class Options(RewardSource.Options):
        column: str = Field(description="The score's name in the data.")

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """The recorded scores, abstentions and failures among them. Raises DataError for what is no finite number."""
        return [self._score_one(completion) for completion in completions]

    def _score_one(self, completion: Completion) -> Score:
        scores, column = completion.recorded_scores, self.options.column
        if column not in scores:
            return Score.failed(f"no recorded score '{column}'; {_told(scores, column)}")
        recorded = scores[column]
        if isinstance(recorded, Score):
            return recorded
        value = finite_number(recorded)
        if value is None:
            raise DataError(
                f"{named(completion)}: reward source '{self.context.name}': the score '{column}' is {recorded!r}."
                " Give a finite number."
            )
        return Score(value)


def _told(names: Collection[str], wanted: str) -> str:
    """The scores that there are, the one that was probably meant first."""
    near = difflib.get_close_matches(wanted, names, 1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"there are: {', '.join(names)}" if names else "it came without scores"
