"""Words and runs of words, as the guards count them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:['’]\w+)*")


def words_of(text: str) -> list[str]:
    """The words in order, in lower case: runs of letters and digits, apostrophes inside them kept."""
    return _WORD.findall(text.lower().replace("’", "'"))


def runs_of(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Every run of `size` words in succession, in order; none if there are fewer words."""
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
