"""One request to an OpenAI-compatible chat endpoint, and what came of it.

What comes back is foreign: it is bounded in size and time, no redirect is followed (the key goes nowhere but to the
address in the recipe), and the key is blotted out of everything before anybody sees it. Proxies are those of the
environment (HTTPS_PROXY, NO_PROXY).
"""

from __future__ import annotations

import email.utils
import http.client
import json
import math
import re
import ssl
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPResponse
from typing import Any, Literal
from urllib.error import URLError
from urllib.parse import parse_qs, urlsplit

_CHUNK = 64 * 1024
_SHOWN = 200  # characters of a server's own words in a message
_TRY_AGAIN = {408, 409, 425, 429}
_BLOT = "[key]"
_KEY_IN_QUERY = re.compile(r"key|token|secret|sig", re.IGNORECASE)


class Fault(Exception):
    """A request that gave no answer.

    kind: "passing" may succeed a little later; "nonsense" is an answer that cannot be read; "refused" will be refused
    again; "hopeless" would happen to every other request too. wait: seconds that the server asks for.
    """

    def __init__(
        self, reason: str, kind: Literal["passing", "nonsense", "refused", "hopeless"], wait: float | None = None
    ) -> None:
        super().__init__(reason)
        self.kind, self.wait = kind, wait


@dataclass(frozen=True)
class Answer:
    """What the judge said and what it cost in tokens (0 where the server does not say). cut: it ran into max_tokens."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False


@dataclass(frozen=True)
class Endpoint:
    """Where to ask. parameters: the rest of the request's body (model, temperature, ...)."""

    url: str
    parameters: Mapping[str, Any]
    key: str | None = field(default=None, repr=False)
    max_bytes: int = 1024 * 1024

    def ask(self, messages: Sequence[Mapping[str, str]], seconds: float) -> Answer:
        """The answer to a conversation, within about this many seconds. Raises Fault."""
        until = time.monotonic() + seconds
        try:
            with _open(self._request(messages), seconds) as response:
                self._check_status(response, until)
                return _answer(self._body(response, until))
        except TimeoutError:
            raise Fault(f"no answer within {seconds:.3g} seconds", "passing") from None
        except (OSError, http.client.HTTPException) as fault:
            raise self._of_connection(fault, seconds) from None

    def _request(self, messages: Sequence[Mapping[str, str]]) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "copgkit"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        body = {**self.parameters, "messages": list(messages)}
        return urllib.request.Request(self.url, json.dumps(body).encode(), headers, method="POST")

    def _check_status(self, response: HTTPResponse, until: float) -> None:
        status = response.status
        if status == 200:
            kind = response.headers.get_content_type()
            if kind != "application/json" and not kind.endswith("+json"):
                raise Fault(f"it answered with {self._plain(kind)} instead of JSON; is `url` right?", "nonsense")
            return
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("Location", ""))
            where = self._plain(f"{target.scheme}://{target.netloc}{target.path}" if target.netloc else target.path)
            raise Fault(f"it redirects to {where}, which is not followed. Give the final address as `url`", "hopeless")
        if status == 401:
            raise Fault("it answered 401: it wants an API key, or another one. See `api_key_env`", "hopeless")
        words = f"it answered {status}: {self._words_of(response, until)}"
        if status in (404, 405):
            raise Fault(f"{words}. Correct `url` or `model`", "hopeless")
        if status in _TRY_AGAIN or status >= 500:
            raise Fault(words, "passing", _seconds(response.headers.get("Retry-After")))
        raise Fault(words, "refused")

    def _body(self, response: HTTPResponse, until: float) -> bytes:
        """The body without the key. Raises Fault if it is too large or breaks off, TimeoutError if it is too slow."""
        parts: list[bytes] = []
        size = 0
        while part := response.read1(_CHUNK):
            size += len(part)
            if size > self.max_bytes:
                raise Fault(f"its answer is larger than {self.max_bytes // 1024} kB", "nonsense")
            if time.monotonic() > until:
                raise TimeoutError
            parts.append(part)
        if response.length:
            raise Fault("its answer broke off", "passing")
        whole = b"".join(parts)
        return whole.replace(self.key.encode(), _BLOT.encode()) if self.key else whole

    def _words_of(self, response: HTTPResponse, until: float) -> str:
        """What an answer that is no success says, in one short line."""
        try:
            text = self._body(response, until).decode(errors="replace")
        except Fault as fault:
            return str(fault)
        try:
            said = json.loads(text)["error"]
            text = str(said["message"] if isinstance(said, dict) else said)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # no JSON of the usual form: the text speaks for itself
        return self._plain(text) or "without a word"

    def _of_connection(self, fault: Exception, seconds: float) -> Fault:
        cause = fault.reason if isinstance(fault, URLError) else fault
        if isinstance(cause, TimeoutError):
            return Fault(f"no answer within {seconds:.3g} seconds", "passing")
        words = self._plain(f"{type(cause).__name__}: {cause}" if isinstance(cause, Exception) else str(cause))
        kind: Literal["hopeless", "passing"] = (
            "hopeless" if isinstance(cause, ssl.SSLCertVerificationError) else "passing"
        )
        return Fault(f"it cannot be reached ({words})", kind)

    def _plain(self, text: str) -> str:
        """Foreign text as it may be shown: without the key and control characters, in one line, short."""
        blotted = text.replace(self.key, _BLOT) if self.key else text
        line = " ".join("".join(c if c.isprintable() else " " for c in blotted).split())
        return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."


def _open(request: urllib.request.Request, seconds: float) -> HTTPResponse:
    """Sends a request with nothing but HTTP(S) and proxies: no redirects, no cookies, no errors by status."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler()):
        opener.add_handler(handler)
    response = opener.open(request, timeout=seconds)
    assert isinstance(response, HTTPResponse)
    return response


def _answer(body: bytes) -> Answer:
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        text, usage = choice["message"]["content"], data.get("usage")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise Fault("its answer is not that of a chat endpoint", "nonsense") from None
    cut = choice.get("finish_reason") == "length"
    if not isinstance(text, str):
        raise Fault("its answer has no text" + (", it ran into max_tokens" if cut else ""), "nonsense")
    return Answer(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"), cut)


def _count(usage: Any, name: str) -> int:
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 10**9 else 0


def _seconds(retry_after: str | None) -> float | None:
    """What a Retry-After header asks for: seconds, or a date; None if it says neither."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def check_url(url: str) -> str:
    """The URL. Raises ValueError, without repeating it, for one that is no web address or carries a secret."""
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed or not all("!" <= character <= "~" for character in url):
        raise ValueError("it is no web address. Write it as https://host/v1/chat/completions.")
    if parts.username or parts.password or any(_KEY_IN_QUERY.search(name) for name in parse_qs(parts.query)):
        raise ValueError("it carries a key. Put the key into an environment variable and name that in api_key_env.")
    return url
