"""Foreign text made harmless to look at: completions, reasons of failures and names may hold anything, secrets too."""

from __future__ import annotations

import re

from copgkit.redaction import redacted

# Control characters rewrite a terminal, direction marks show a text in another order than it has, and lone surrogates
# cannot be written at all. Tab and line feed stay.
_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def plain(text: object) -> str:
    """The text with every character that could do more than be read replaced by U+FFFD, and without secrets."""
    return _HARMFUL.sub("\N{REPLACEMENT CHARACTER}", redacted(str(text)).replace("\r\n", "\n"))
