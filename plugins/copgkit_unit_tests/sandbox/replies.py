"""The shapes a child's messages may have. Hostile code can write any message; what has no such shape ends its run."""

from __future__ import annotations

from .inside.plain import Plain


def is_reply(message: Plain, asked: str) -> bool:
    """Whether a message can be the child's next one after it was asked to do this."""
    if not isinstance(message, dict):
        return False
    if asked == "ready":
        return message.get("ready") is True
    if asked == "load":
        return message.get("loaded") is True or _is_raised(message)
    if asked in ("call", "operate"):
        return ("value" in message or _is_raised(message)) and _has_arguments(message, may_be_none=True)
    return _is_question(message) or _is_verdict(message)


def _is_raised(message: Plain) -> bool:
    return all(isinstance(message.get(key), str) for key in ("raised", "type", "text"))


def _has_arguments(message: Plain, *, may_be_none: bool) -> bool:
    args, kwargs = message.get("args"), message.get("kwargs")
    if may_be_none and args is None and kwargs is None:
        return True
    return isinstance(args, list) and isinstance(kwargs, dict) and all(isinstance(key, str) for key in kwargs)


def _is_question(message: Plain) -> bool:
    named = message.get("ask") in ("call", "operate") and isinstance(message.get("name"), str)
    return named and _has_arguments(message, may_be_none=False)


def _is_verdict(message: Plain) -> bool:
    return message.get("passed") is True or (message.get("passed") is False and _is_raised(message))
