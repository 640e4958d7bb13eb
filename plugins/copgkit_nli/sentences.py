"""Where sentences end. A small splitter by rule, for English and for texts that write like it.

A sentence ends at a line break, and at `.`, `!`, `?` or an ellipsis (with the quotes and brackets that close behind it)
before white space, but not
  after an abbreviation that goes on ("Dr.", "e.g.", "vs."; "No." before a number), or an initial ("J. Smith");
  after one that may end a sentence ("etc.", "p.m."), an ellipsis, or a quote or bracket that closes, unless a capital
  follows;
  after the number that opens an item ("1. First").
A decimal, a version or an address has no white space behind its point and stays whole. A piece without any letter or
digit (":)") belongs to the sentence before it. The next sentence may begin with a small letter, since much text on the
net does. Text without any punctuation is one sentence; the caller bounds its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# ruff: noqa: SIM905
GOES_ON = frozenset("mr mrs ms dr prof st capt sgt e.g i.e cf vs viz approx ca al dept univ".split())
BEFORE_A_NUMBER = frozenset("no nos fig figs eq sec ch vol p pp".split())
MAY_END = frozenset("etc a.m p.m inc ltd co corp jr sr u.s u.k u.n e.u d.c ph.d jan feb aug sept oct nov dec".split())

_END = re.compile(r"(?P<mark>[.!?…]+)(?P<closed>[\"'”’)\]]*)(?=\s)")
_LAST_WORD = re.compile(r"[\w.]*\w(?=\.$)")
_OPENS_ITEM = re.compile(r"\s*\d+\.$")
_HAS_WORD = re.compile(r"\w")


def sentences(text: str) -> list[str]:
    """The sentences in order, without the white space around them; none for a text without any letter or digit."""
    if not _HAS_WORD.search(text):
        return []
    found: list[str] = []
    for line in text.splitlines():
        for piece in _pieces(line.strip()):
            if _HAS_WORD.search(piece) or not found:
                found.append(piece)
            else:
                found[-1] += f" {piece}"
    return found


def _pieces(line: str) -> Iterator[str]:
    start = 0
    for match in _END.finditer(line):
        if _ends(line[start : match.end("mark")], match, line[match.end() :].lstrip()):
            yield line[start : match.end()].strip()
            start = match.end()
    if line[start:].strip():
        yield line[start:].strip()


def _ends(before: str, end: re.Match[str], after: str) -> bool:
    """Whether the sentence ends behind `before`, which closes with the mark of `end`."""
    mark = end["mark"]
    capital_follows = after.lstrip("\"'“‘([")[:1].isupper()
    if end["closed"] or (mark != "." and set(mark) <= {".", "…"}):
        return capital_follows
    if mark != ".":
        return True
    match = _LAST_WORD.search(before)
    word = match.group() if match else ""
    if _goes_on(word, after) or _OPENS_ITEM.fullmatch(before):
        return False
    return capital_follows or word.lower() not in MAY_END


def _goes_on(word: str, after: str) -> bool:
    """Whether the point behind `word` belongs to it and not to the sentence."""
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    is_before_number = word.lower() in BEFORE_A_NUMBER and after[:1].isdigit()
    return is_initial or is_before_number or word.lower() in GOES_ON
