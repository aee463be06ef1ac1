"""A local server that speaks vLLM's protocol of tokens and breaks it on request. What it says of a prompt is arithmetic."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from prism_pl.types import Prompt

LABEL = "run-3"


def prompt(number: int) -> Prompt:
    return Prompt(f"rows:{number}", "", (number, 7), (number, 7), torch.zeros(3, 2))


def expected(number: int, seed: int, index: int) -> tuple[int, ...]:
    """The tokens of a response: as many as its place in the group says, and one."""
    return tuple(number + seed + index for _ in range(index + 1))


def _reply(body: dict[str, Any]) -> dict[str, Any]:
    sampling = body["sampling_params"]
    choices = []
    for index in range(sampling["n"]):
        ids = expected(body["token_ids"][0], sampling["seed"], index)
        choices.append(
            {
                "index": index,
                "finish_reason": "length" if index else "stop",
                "token_ids": ids,
                "logprobs": {"content": [{"token_id": token, "logprob": -token / 8, "rank": 1} for token in ids]},
                "weight_versions": [{"version": LABEL, "start": 0, "end": len(ids)}],
            }
        )
    # In no order.
    return {"prompt_token_ids": body["token_ids"], "choices": choices[::-1]}


def _without(reply: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in reply.items() if name != key}


def _first(reply: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return reply | {"choices": [reply["choices"][0] | fields, *reply["choices"][1:]]}


FAULTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "no choices": lambda reply: _without(reply, "choices"),
    "too few": lambda reply: reply | {"choices": reply["choices"][1:]},
    "aborted": lambda reply: _first(reply, finish_reason="abort"),
    "empty": lambda reply: _first(reply, token_ids=[], logprobs={"content": []}),
    "other tokens": lambda reply: _first(reply, logprobs={"content": [{"token_id": 1, "logprob": -1.0}]}),
    "old weights": lambda reply: _first(reply, weight_versions=[{"version": "run-2", "start": 0, "end": 1}]),
    "two weights": lambda reply: _first(
        reply, weight_versions=[{"version": version, "start": 0, "end": 1} for version in ("run-2", LABEL)]
    ),
    "no weights": lambda reply: _first(reply, weight_versions=[]),
    "other prompt": lambda reply: reply | {"prompt_token_ids": [1]},
}


class FaultyServer(ThreadingHTTPServer):
    """``act`` is what it does with every question: ``fine``, a status, or a fault."""

    daemon_threads = True

    def __init__(self, act: str = "fine", delay_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.act, self.delay_s = act, delay_s
        self.lock = threading.Lock()
        self.asked = self.in_flight = self.most_in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.asked += 1
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        time.sleep(server.delay_s)
        with server.lock:
            server.in_flight -= 1
        act = server.act
        if act == "hang up":
            self.close_connection = True
        elif act == "slow":
            time.sleep(3)
        elif act == "html":
            self._send(200, b"<html>")
        elif act.isdigit():
            self._send(int(act), b'{"error": "no"}')
        else:
            reply = FAULTS.get(act, lambda whole: whole)(_reply(body))
            self._send(200, json.dumps(reply).encode(), cut=act == "cut")

    def _send(self, status: int, content: bytes, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    def log_message(self, *_: Any) -> None:
        """Silence."""


@contextmanager
def serving(*servers: FaultyServer) -> Iterator[None]:
    """They answer until the block ends."""
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
