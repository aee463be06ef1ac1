"""A real local server that speaks the protocol of chat completions, plays a script of answers and faults, and keeps what
it saw."""

import json
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test/0123456789+abcdef"


class ScriptedServer(ThreadingHTTPServer):
    """``script[key]`` lists the acts that a question's requests get, one after the other; the last one stays.

    A subclass says which question a request is and what an act that is no fault answers.
    """

    daemon_threads = True
    usual: Sequence[str] = ("fine",)
    """The acts of a question that the script has none for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: dict[Any, list[str]] = {}
        self.seen: list[Any] = []
        """The question of every request, in order."""
        self.bodies: list[dict[str, Any]] = []
        self.authorizations: set[str | None] = set()
        self.times: list[float] = []
        self.in_flight = self.most_in_flight = 0
        self.delay_s = 0.0
        self.meeting = 0
        """No request is answered before so many have been in flight at a time."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def counts(self) -> Counter[Any]:
        """Requests a question."""
        return Counter(self.seen)

    def identify(self, body: dict[str, Any]) -> Hashable:
        """The question that a request asks."""
        return 0

    def completion(self, act: str, key: Any, echo: str) -> dict[str, Any] | None:
        """The body of an answer; None if the act is a fault."""
        return chat_completion("fine") if act == "fine" else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up, and those that are killed, are part of the play."""

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answers until the block ends."""
        with self:
            thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield
            finally:
                self.shutdown()
                thread.join()


def chat_completion(
    content: str | None, reason: str = "stop", prompt_tokens: int = 1000, completion_tokens: int = 10
) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": reason}], "usage": usage}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = server.identify(body)
        with server.lock:
            earlier = server.counts()[key]
            server.seen.append(key)
            server.bodies.append(body)
            server.times.append(time.monotonic())
            server.authorizations.add(self.headers["Authorization"])
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        time.sleep(server.delay_s)
        patience = time.monotonic() + 30
        while server.most_in_flight < server.meeting and time.monotonic() < patience:
            time.sleep(0.005)
        with server.lock:
            server.in_flight -= 1
        play = server.script.get(key, server.usual)
        self._play(play[min(earlier, len(play) - 1)] if self.path == "/v1/chat/completions" else "404", key)

    def _play(self, act: str, key: Any) -> None:
        echo = f"you sent {self.headers['Authorization']}, as JSON {json.dumps(self.headers['Authorization'])}"
        if (answer := self.server.completion(act, key, echo)) is not None:
            self._send(200, answer)
        elif act == "429":
            self._send(429, {"error": "slow down"}, {"Retry-After": "0.2"})
        elif act == "429 tomorrow":
            self._send(429, {"error": "your day is over"}, {"Retry-After": "86400"})
        elif act == "cut":
            self._send(200, chat_completion("never whole"), cut=True)
        elif act == "hang up":
            self.close_connection = True
        elif act == "slow":
            time.sleep(3)
        elif act == "html":
            self._send(200, b"<html>Bad gateway " + echo.encode())
        elif act == "no choices":
            self._send(200, {"error": {"message": f"upstream {echo}"}})
        elif act == "no message":
            self._send(200, {"choices": []})
        elif act == "redirect":
            self._send(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"})
        else:
            self._send(int(act), echo.encode())

    def _send(
        self, status: int, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    def log_message(self, *_: Any) -> None:
        """Silence."""
