"""The reward source `format`: whether a completion ended properly, by a table of values.

The first fault that applies gives the value: empty, unfinished (no end-of-sequence), a loop (the same run of words
again and again), open (no closing punctuation). Otherwise it is well formed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from copgkit import Completion, RewardSource, Score
from copgkit_guards.words import runs_of, words_of

CLOSING = ".!?…。！？"
BEHIND_CLOSING = "\"'”’»)]*_"


class Form(RewardSource):
    """A value by the first fault: empty, unfinished, loop, open (no closing punctuation); else well-formed."""

    stored = False

    class Options(RewardSource.Options):
        empty: float = Field(-1.0, description="Value of a completion without words.")
        unfinished: float = Field(-1.0, description="Of one without end-of-sequence.")
        loop: float = Field(-1.0, description="Of one that repeats a run of loop_words at least loop_repeats times.")
        open: float = Field(-0.25, description="Of one without closing punctuation.")
        well_formed: float = Field(0.0, description="Of one without any of these faults.")
        loop_words: int = Field(3, ge=1, description="Words of the run that makes a loop; runs may overlap.")
        loop_repeats: int = Field(3, ge=2, description="How often it has to stand in the completion.")

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One score per completion. Notes: the fault by name, if there is one."""
        return [self._score(completion) for completion in completions]

    def _score(self, completion: Completion) -> Score:
        fault = self._fault(completion)
        return Score(getattr(self.options, fault or "well_formed"), {"fault": fault} if fault else {})

    def _fault(self, completion: Completion) -> str | None:
        words = words_of(completion.text)
        if not words:
            return "empty"
        if not completion.finished:
            return "unfinished"
        if max(Counter(runs_of(words, self.options.loop_words)).values(), default=0) >= self.options.loop_repeats:
            return "loop"
        return None if is_closed(completion.text) else "open"


def is_closed(text: str) -> bool:
    """Whether the text ends with closing punctuation, or with quotes and brackets behind it."""
    return text.rstrip().rstrip(BEHIND_CLOSING).endswith(tuple(CLOSING))
