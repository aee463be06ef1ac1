"""Bodies of chat completions, good ones and nonsense."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.endpoint.answers import Answer, parse_answer

WHOLE: dict[str, Any] = {
    "id": "1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ä"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
}


def test_a_completion_is_read() -> None:
    assert parse_answer(json.dumps(WHOLE).encode()) == Answer("ä", "stop", 12, 3)


def test_no_content_is_an_empty_text() -> None:
    body = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    assert parse_answer(json.dumps(body).encode()) == Answer("", "length", None, None)


@pytest.mark.parametrize("tokens", [-1, 1.5, True, "7", 10**300, None])
def test_tokens_that_are_no_count_are_unknown(tokens: Any) -> None:
    body = WHOLE | {"usage": {"prompt_tokens": tokens, "completion_tokens": 3}}
    assert parse_answer(json.dumps(body).encode()) == Answer("ä", "stop", None, 3)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no JSON"),
        (b"<html>", "no JSON"),
        (b"\xff\xfe\xfa", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"null", "without a message"),
        (b'"choices"', "without a message"),
        (b'{"error": {"code": 502}}', "without a message"),
        (b'{"choices": []}', "without a message"),
        (b'{"choices": {"0": {}}}', "without a message"),
        (b'{"choices": [null]}', "without a message"),
        (b'{"choices": [{"message": "text"}]}', "without a message"),
        (b'{"choices": [{"message": {"content": [1]}}]}', "content is no text"),
    ],
)
def test_nonsense_is_named(body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_answer(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens"]), inner)
    ),
)


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_is_an_answer_or_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_answer(body).text, str)
