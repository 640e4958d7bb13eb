"""The reward source `recorded`: a column of scores that came with the data."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
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
        """The recorded scores, abstentions and failures among them. Raises DataError for a column that no completion
        has although all have others, and for what is no finite number."""
        columns = {name for completion in completions for name in completion.recorded_scores}
        if columns and self.options.column not in columns and all(each.recorded_scores for each in completions):
            near = difflib.get_close_matches(self.options.column, columns, 1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(columns))}."
            raise DataError(
                f"{completions[0].prompt.place}: {self._where}: none of {len(completions)} completions has a score"
                f" '{self.options.column}'. {hint}"
            )
        return [self._score_one(completion) for completion in completions]

    @property
    def _where(self) -> str:
        return f"reward source '{self.context.name}'"

    def _score_one(self, completion: Completion) -> Score:
        scores, column = completion.recorded_scores, self.options.column
        if column not in scores:
            others = f"there are: {', '.join(scores)}" if scores else "it came without scores"
            return Score.failed(f"no recorded score '{column}'; {others}")
        recorded = scores[column]
        if isinstance(recorded, Score):
            return recorded
        value = finite_number(recorded)
        if value is None:
            raise DataError(
                f"{named(completion)}: {self._where}: the score '{column}' is {scores[column]!r}. Give a finite number."
            )
        return Score(value)
