"""Secrets taken out of what a run writes and says: recipes, records, messages, reports.

    redacted("401 for hf_abcdefghijklmnopqrstuvwxyz")     # "401 for [redacted]"
    redacted_data({"options": {"api_key": "hunter2"}})    # {"options": {"api_key": "[redacted]"}}

Taken out are: what the environment holds under a name that says secret (HF_TOKEN, OPENAI_API_KEY, DB_PASSWORD), keys
and tokens of the forms that services give them, the user part of an address, and what stands beside a name such as
api_key or password. The recipe's own files, data and completions are not touched. Limits: a secret under a harmless
name, in no known form, and not in the environment looks like any other text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"
_SHORTEST = 8  # characters; a shorter value of the environment would be found in innocent words

_SECRET_NAME = re.compile(
    r"(?:^|[_\-.])(?:token|secret|password|passwd|passphrase|credentials?|api_?key|access_?key|private_?key|auth)$",
    re.IGNORECASE,
)
_KEY_NAME = re.compile(
    r"^(?:.*[_\-.])?(?:api[_\-]?key|access[_\-]?key|private[_\-]?key|secret(?:[_\-]key)?|password|passwd|passphrase"
    r"|credentials?|authorization|(?:access|auth|hf|hub|api|bearer|refresh)[_\-]?token|token)$",
    re.IGNORECASE,
)
# Every repetition is bounded or ends at a character of another kind: foreign text must not make the search slow.
_FORMS = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|\bsk-[A-Za-z0-9_\-]{16,}"  # OpenAI, Anthropic and those that copy them
    r"|\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_\-]{16,})"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_\-]{30,}|\bxox[abeoprs]-[A-Za-z0-9\-]{10,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+"  # JSON web tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_IN_ADDRESS = re.compile(r"(?<=://)[^\s/@:'\"]{1,200}:[^\s/@'\"]{0,500}(?=@)")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/\-]{8,}=*")
_BESIDE_NAME = re.compile(
    r"(?i)(\b(?:[a-z0-9]{1,40}[_\-]){0,4}(?:api[_\-]?key|access[_\-]?key|secret(?:[_\-]key)?|password|passwd|passphrase"
    r"|authorization|(?:access|auth|hf|hub|api|bearer|refresh)[_\-]?token)\b[\"']?\s*[:=]\s*[\"']?|[?&](?:token|key)=)"
    r"(?!\[redacted\])[^\s\"',;&}\])]+"
)


def redacted(text: str) -> str:
    """The text without the secrets that can be told."""
    for value in _of_environment():
        text = text.replace(value, REDACTED)
    text = _FORMS.sub(REDACTED, text)
    text = _IN_ADDRESS.sub(REDACTED, text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    return _BESIDE_NAME.sub(rf"\1{REDACTED}", text)


def redacted_data(value: Any, name: str = "") -> Any:
    """JSON-like data without the secrets that can be told. name: the key under which the value stands."""
    if isinstance(value, Mapping):
        return {key: redacted_data(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_data(inner, name) for inner in value]
    if not isinstance(value, str) or not value:
        return value
    return REDACTED if _KEY_NAME.search(name) else redacted(value)


def _of_environment() -> list[str]:
    """The values that the environment holds under secret names, the longest first."""
    found = {value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)
