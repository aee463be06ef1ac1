"""The endpoint's options: what is refused, where the key comes from, what answers cost."""

from typing import Any

import pytest

from prism_pl.endpoint import EndpointOptions
from prism_pl.errors import UserError


def build(**changes: Any) -> EndpointOptions:
    return EndpointOptions(**({"base_url": "https://api.example.com/v1", "model": "teacher", "api_key_env": "K"} | changes))


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@api.example.com/v1", "https://hunter2@api.example.com/v1", "api.example.com/hunter2",
        "ftp://hunter2.example.com", "https://api.example.com/v1?key=hunter2", "https://api.example.com/v1#hunter2",
        "https://", "", "http://hunter2:port/v1", "http://[hunter2/v1", "http://hunter2 .com/v1",
        "http://xn--hunter2\u2028.com/v1",
    ],
)  # fmt: skip
def test_an_address_with_anything_in_it_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match=r"endpoint.base_url") as error:
        build(base_url=url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("name", ["sk-0123456789", "AIzaSyA1234", "", "MY KEY", "$KEY"])
def test_a_key_in_place_of_its_name_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(UserError, match=r"endpoint.api_key_env: the name of an environment variable") as error:
        build(api_key_env=name)
    assert not name or name not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"concurrency": 0}, "endpoint.concurrency: at least 1"),
        ({"max_retries": -1}, "endpoint.max_retries: at least 0"),
        ({"max_tokens": 0}, "endpoint.max_tokens: at least 1"),
        ({"requests_per_minute": 0}, "endpoint.requests_per_minute: a positive number"),
        ({"timeout_s": -1.0}, "endpoint.timeout_s: a positive number"),
        ({"first_wait_s": float("nan")}, "endpoint.first_wait_s: a positive number"),
        ({"price_per_million_input_tokens": 1.0}, "give both, or neither"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**changes)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://127.1.2.3/v1", True),
        ("https://localhost.example.com/v1", False),
        ("http://10.0.0.1:8000/v1", False),
    ],
)
def test_only_this_machine_needs_no_key(url: str, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("K", raising=False)
    options = build(base_url=url)
    assert options.is_local is local
    if local:
        assert options.read_key() is None
    else:
        with pytest.raises(UserError, match=r"the environment variable K is not set.*export K="):
            options.read_key()
    monkeypatch.setenv("K", " sk-1\n")
    assert options.read_key() == "sk-1"


@pytest.mark.parametrize("key", ["sk-1 sk-2", "sk-1\nsk-2", "sk-\u2026"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K", key)
    with pytest.raises(UserError, match="K holds a blank") as error:
        build().read_key()
    assert "sk-" not in str(error.value)


def test_cost() -> None:
    assert build().cost(1000, 1000) is None
    priced = build(price_per_million_input_tokens=0.5, price_per_million_output_tokens=3.0)
    # 2 M at 0.5 and 0.1 M at 3.
    assert priced.cost(2_000_000, 100_000) == pytest.approx(1.3)
