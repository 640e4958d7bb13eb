"""Stop strings: texts that end a completion where they first appear, as end-of-sequence does.

The model goes on token by token until the text of what it wrote holds a stop string. All tokens up to there stay in the
completion's ids, the one that completes the string included, and no end-of-sequence is added: the log-probability is
then that of the event "the model wrote these tokens first", and the events that end with a stop string, with
end-of-sequence or at the length limit share the whole probability. The text ends before the stop string, since rewards
should see the answer and not its end mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from copgkit.engine.codec import Codec

_TOKENS_PER_CHARACTER = 4  # a character may be written byte by byte
_TOKENS_BESIDE = 8


@dataclass(frozen=True)
class StopStrings:
    """The stop strings of a policy. None of them is empty."""

    strings: tuple[str, ...]
    codec: Codec

    def end(self, token_ids: Sequence[int]) -> bool:
        """Whether the text of these ids holds a stop string. Looks at the whole only if its end may hold one."""
        reach = _TOKENS_PER_CHARACTER * max(map(len, self.strings), default=0) + _TOKENS_BESIDE
        return self._hold(token_ids[-reach:]) and self._hold(token_ids)

    def before(self, text: str) -> tuple[str, bool]:
        """The text before the first stop string, and whether there is one."""
        places = [place for string in self.strings if (place := text.find(string)) >= 0]
        return (text[: min(places)], True) if places else (text, False)

    def _hold(self, token_ids: Sequence[int]) -> bool:
        return self.before(self.codec.text(token_ids))[1]
