"""The body of a chat completion, read without trust: what is no chat completion is told from what a model said."""

import json
from dataclasses import dataclass
from typing import Any

_MOST_TOKENS = 2**53


@dataclass(frozen=True)
class Answer:
    """What the endpoint said to one request."""

    text: str
    """The model's text; empty if it said nothing."""
    finish_reason: str | None
    """``stop``, or ``length`` if ``max_tokens`` cut it."""
    prompt_tokens: int | None
    """As the endpoint bills them; None if it does not tell."""
    completion_tokens: int | None


def parse_answer(body: bytes) -> Answer:
    """Raises ValueError if the body is no chat completion.

    >>> parse_answer(b'{"choices": [{"message": {"content": "3"}}], "usage": {"prompt_tokens": 7}}')
    Answer(text='3', finish_reason=None, prompt_tokens=7, completion_tokens=None)
    """
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("a body that is no JSON") from None
    choice = _first(_get(reply, "choices"))
    message = _get(choice, "message")
    if not isinstance(message, dict):
        raise ValueError("JSON without a message")
    content, reason, usage = message.get("content"), _get(choice, "finish_reason"), _get(reply, "usage")
    if not isinstance(content, str | None):
        raise ValueError("a message whose content is no text")
    return Answer(
        text=content or "",
        finish_reason=reason if isinstance(reason, str) else None,
        prompt_tokens=_tokens(_get(usage, "prompt_tokens")),
        completion_tokens=_tokens(_get(usage, "completion_tokens")),
    )


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS else None
