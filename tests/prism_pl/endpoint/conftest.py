"""A scripted server, and options for it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from prism_pl.endpoint import EndpointOptions
from tests.scripted_server import KEY, ScriptedServer, chat_completion


class EchoServer(ScriptedServer):
    """Answers ``fine``, or what the client sent in its header."""

    def completion(self, act: str, key: Any, echo: str) -> dict[str, Any] | None:
        return chat_completion(echo) if act == "echo" else super().completion(act, key, echo)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = EchoServer()
    with server.serving():
        yield server


@pytest.fixture
def options(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., EndpointOptions]:
    """Options for the server, quick to repeat; the key is in the environment."""
    monkeypatch.setenv("TEACHER_KEY", KEY)

    def build(**changes: Any) -> EndpointOptions:
        quick = {"base_url": server.url, "model": "teacher", "api_key_env": "TEACHER_KEY", "first_wait_s": 0.001}
        return EndpointOptions(**(quick | changes))

    return build
