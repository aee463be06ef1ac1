"""One request against a real server: what is repeated, what is not, how long it waits, and that no error holds the key."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from prism_pl.endpoint import Answer, Endpoint, EndpointOptions, NoAnswer
from prism_pl.errors import UserError

Options = Callable[..., EndpointOptions]


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How are you?"}]


@pytest.fixture
def ask(server: Any, options: Options) -> Callable[..., Answer]:
    """Asks a question of which the server plays the acts."""

    def ask(*acts: str, **changes: Any) -> Answer:
        server.script[0] = list(acts)

        async def exchange() -> Answer:
            async with Endpoint(options(**changes)) as endpoint:
                return await endpoint.ask(MESSAGES, 5)

        return asyncio.run(exchange())

    return ask


def test_the_request_is_complete(ask: Callable[..., Answer], server: Any) -> None:
    answer = ask("fine", temperature=0.7, max_tokens=50)
    assert answer == Answer("fine", "stop", 1000, 10)
    (body,) = server.bodies
    assert body == {"model": "teacher", "messages": MESSAGES, "temperature": 0.7, "max_tokens": 50, "seed": 5}


def test_extra_fields_have_the_last_word(ask: Callable[..., Answer], server: Any) -> None:
    ask("fine", extra={"max_tokens": None, "max_completion_tokens": 9, "temperature": 0})
    body = server.bodies[0]
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["temperature"]) == (9, 0)


FAULTS = ["429", "500", "503", "408", "cut", "hang up", "html", "no choices", "no message"]


def test_every_fault_is_repeated_until_an_answer(ask: Callable[..., Answer], server: Any) -> None:
    assert ask(*FAULTS, "fine", max_retries=len(FAULTS)).prompt_tokens == 1000
    assert server.counts() == {0: len(FAULTS) + 1}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("429", "^429: .*slow down"),
        ("500", "^500: you sent"),
        ("cut", "^RemoteProtocolError"),
        ("hang up", "^(RemoteProtocol|Read)Error"),
        ("html", "^200 with a body that is no JSON: <html>Bad gateway"),
        ("no choices", "^200 with JSON without a message"),
        ("slow", "^no answer within 0.5 s"),
    ],
)
def test_after_all_retries_there_is_no_answer(act: str, message: str, ask: Callable[..., Answer], server: Any) -> None:
    with pytest.raises(NoAnswer, match=message) as error:
        ask(act, max_retries=2, timeout_s=0.5 if act == "slow" else 10)
    assert server.counts() == {0: 3}
    assert "0123456789" not in str(error.value)


def test_nobody_is_there(options: Options) -> None:
    async def exchange() -> None:
        # Port 9, discard: nothing listens.
        async with Endpoint(options(base_url="http://127.0.0.1:9/v1", max_retries=1)) as endpoint:
            await endpoint.ask([], 0)

    with pytest.raises(NoAnswer, match=r"^ConnectError"):
        asyncio.run(exchange())


@pytest.mark.parametrize("act", ["401", "402", "404", "405", "redirect"])
def test_a_mistake_stops_at_once_and_names_what_to_check(act: str, ask: Callable[..., Answer], server: Any) -> None:
    with pytest.raises(UserError, match=r"answers the model 'teacher' with \d{3}") as error:
        ask(act)
    assert server.counts() == {0: 1}
    for name in (server.url, "endpoint.base_url", "endpoint.model", "TEACHER_KEY"):
        assert name in str(error.value)
    # The server sent the header back, as text and as JSON.
    assert "0123456789" not in str(error.value)
    assert act == "redirect" or str(error.value).count("Bearer [key]") == 2


@pytest.mark.parametrize("act", ["400", "403", "413", "422"])
def test_a_refusal_is_not_repeated(act: str, ask: Callable[..., Answer], server: Any) -> None:
    with pytest.raises(NoAnswer, match=f"^refused with {act}: ") as error:
        ask(act)
    assert server.counts() == {0: 1}
    assert "0123456789" not in str(error.value)


def test_a_key_at_the_edge_of_an_excerpt_leaves_no_half(
    ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The echo begins with "you sent Bearer ": an excerpt of 300 characters would end within this key.
    key = "sk-" + "".join(f"{number:03d}" for number in range(200))
    monkeypatch.setenv("LONG_KEY", key)
    with pytest.raises(UserError) as error:
        ask("401", api_key_env="LONG_KEY")
    assert not re.search(r"000001|198199", str(error.value))


def test_retry_after_holds_the_request(ask: Callable[..., Answer], server: Any) -> None:
    ask("429", "fine")
    first, second = server.times
    assert second - first >= 0.2


def test_a_wait_of_hours_is_not_waited_for(ask: Callable[..., Answer]) -> None:
    start = time.monotonic()
    with pytest.raises(NoAnswer, match="It asks to wait 86,400 s"):
        ask("429 tomorrow")
    assert time.monotonic() - start < 60


def test_the_key_is_in_the_header_alone(ask: Callable[..., Answer], server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ask("fine")
    assert server.authorizations == {"Bearer sk-test/0123456789+abcdef"}
    assert "0123456789" not in str(server.bodies)
    monkeypatch.delenv("TEACHER_KEY")
    server.authorizations.clear()
    ask("fine")
    assert server.authorizations == {None}


def test_a_key_over_an_open_line_is_warned_of(options: Options, caplog: pytest.LogCaptureFixture) -> None:
    Endpoint(options(base_url="http://10.0.0.1:8000/v1"))
    assert "the key goes to http://10.0.0.1:8000/v1 without encryption" in caplog.text
    assert "0123456789" not in caplog.text
