"""The reward source `copy-rate`: how much of a completion is copied from its source in one stretch or several.

A span is a stretch of at least `span_words` words that stands in the source in the same order without a gap. A word
lies in such a span exactly if one of the runs of `span_words` words around it stands in the source, so a set of the
source's runs is enough, and the time grows with the lengths of the two texts alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from copgkit import Completion, RewardSource, Score
from copgkit_guards.words import runs_of, words_of


class CopyRate(RewardSource):
    """Share of the completion's words in spans copied from the source, in [0, 1]; give it a negative weight."""

    stored = False

    class Options(RewardSource.Options):
        prompt_from: str | None = Field(
            None, description="The source text, where it is not the prompt: for instance 'facts.post' or 'answer'."
        )
        span_words: int = Field(4, ge=1, description="Shorter agreements are no copies.")
        sign: Literal[1, -1] = Field(
            1, description="1: the rate, for a negative weight. -1: minus the rate, for a positive one."
        )

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One score per completion. Notes: the words of the longest copied span. Nothing copied, nothing said: 0."""
        return [self._score(completion) for completion in completions]

    def _score(self, completion: Completion) -> Score:
        source = words_of(self.text_of(completion.prompt, self.options.prompt_from))
        words = words_of(completion.text)
        spans = copied_spans(words, source, self.options.span_words)
        rate = covered(spans) / len(words) if words else 0.0
        longest = max((len(span) for span in spans), default=0)
        return Score(self.options.sign * rate, {"longest-span": float(longest)})


def copied_spans(words: Sequence[str], source: Sequence[str], size: int) -> list[range]:
    """Every span of at least `size` words that stands in the source, as indices of `words`; spans may overlap, and of
    those with the same end only the longest is given."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, run in enumerate(runs_of(source, size)):
        places[run].append(place)
    spans: list[range] = []
    lengths: dict[int, int] = {}  # place in the source of the last run that agreed: words that agree up to there
    for start, run in enumerate(runs_of(words, size)):
        lengths = {place: lengths.get(place - 1, size - 1) + 1 for place in places.get(run, ())}
        if lengths:
            end = start + size
            spans.append(range(end - max(lengths.values()), end))
    return spans


def covered(spans: Sequence[range]) -> int:
    """How many indices lie in any of the spans, which come in the order of their ends."""
    count = reached = 0
    for span in spans:
        count += span.stop - max(span.start, reached)
        reached = span.stop
    return count
