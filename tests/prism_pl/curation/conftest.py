"""A real local server that speaks the protocol, plays a script of answers and faults, and keeps what it saw."""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from prism_pl.curation import EndpointOptions
from prism_pl.seeds import derive_seed

KEY = "sk-test/0123456789+abcdef"
GOOD = "<caption>\n- two digits\n</caption>\n<think>\nI read them.\n</think>\n<answer>\n{answer}\n</answer>"
CONTENTS: dict[str, Any] = {
    "verified": GOOD,
    "wrong": GOOD.replace("{answer}", "-1"),
    "malformed": "<caption>a</caption><answer>{answer}</answer>",
    "outside": "Here you are: " + GOOD,
    "empty": "",
    "null": None,
}


class TeacherServer(ThreadingHTTPServer):
    """``script[row, try]`` lists what a try's requests get, one after the other; the last entry stays. Others verify."""

    daemon_threads = True

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rows = rows
        self.row_of_image = {Path(row["images"][0]).read_bytes(): index for index, row in enumerate(rows)}
        assert len(self.row_of_image) == len(rows)
        self.script: dict[tuple[int, int], list[str]] = {}
        self.seen: list[tuple[int, int]] = []
        """Row and try of every request, in order."""
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

    def counts(self) -> Counter[tuple[int, int]]:
        """Requests a try."""
        return Counter(self.seen)

    def identify(self, body: dict[str, Any]) -> tuple[int, int]:
        """Row and try: the row from the image's bytes, the try from the seed."""
        (url,) = [part["image_url"]["url"] for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
        assert url.startswith("data:image/png;base64,")
        row = self.row_of_image[base64.b64decode(url.partition(",")[2], validate=True)]
        (number,) = [number for number in range(20) if derive_seed(0, "curate", row, number) == body["seed"]]
        return row, number

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up, and those that are killed, are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TeacherServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        row, number = server.identify(body)
        with server.lock:
            earlier = server.counts()[row, number]
            server.seen.append((row, number))
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
        play = server.script.get((row, number), ["verified"])
        self._play(play[min(earlier, len(play) - 1)] if self.path == "/v1/chat/completions" else "404", row, number)

    def _play(self, act: str, row: int, number: int) -> None:
        echo = f"you sent {self.headers['Authorization']}, as JSON {json.dumps(self.headers['Authorization'])}".encode()
        if act in CONTENTS:
            self._send(200, self._completion(CONTENTS[act], row, number))
        elif act == "length":
            self._send(200, self._completion("<caption>\n- two dig", row, number, "length"))
        elif act == "unmetered":
            self._send(200, {**self._completion(GOOD, row, number), "usage": None})
        elif act == "echo":
            self._send(200, self._completion(f"{GOOD} {echo.decode()}", row, number))
        elif act == "429":
            self._send(429, {"error": "slow down"}, {"Retry-After": "0.2"})
        elif act == "429 tomorrow":
            self._send(429, {"error": "your day is over"}, {"Retry-After": "86400"})
        elif act == "cut":
            self._send(200, self._completion(GOOD, row, number), cut=True)
        elif act == "hang up":
            self.close_connection = True
        elif act == "slow":
            time.sleep(3)
        elif act == "html":
            self._send(200, b"<html>Bad gateway " + echo)
        elif act == "no choices":
            self._send(200, {"error": {"message": "upstream " + echo.decode()}})
        elif act == "no message":
            self._send(200, {"choices": []})
        elif act == "redirect":
            self._send(302, b"", {"Location": "http://127.0.0.1:9/elsewhere"})
        else:
            self._send(int(act), echo)

    def _completion(self, content: str | None, row: int, number: int, reason: str = "stop") -> dict[str, Any]:
        text = content and content.replace("{answer}", self.server.rows[row]["answer"])
        usage = {"prompt_tokens": 1000 + row, "completion_tokens": 10 + number}
        return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}], "usage": usage}

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


@pytest.fixture
def rows(embedded: Path) -> list[dict[str, Any]]:
    """Twelve rows of the alignment set with absolute image paths, and pass rates 0, 1/8, 2/8, 3/8 in turn."""
    lines = (embedded / "align.jsonl").read_text().splitlines()[:12]
    rows = [json.loads(line) for line in lines]
    for index, row in enumerate(rows):
        row["images"] = [str(embedded / image) for image in row["images"]]
        row["pass_rate"] = index % 4 / 8
    return rows


@pytest.fixture
def data_file(rows: list[dict[str, Any]], tmp_path: Path) -> Path:
    """To be read with the image root "/"."""
    file = tmp_path / "all.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def server(rows: list[dict[str, Any]]) -> Iterator[TeacherServer]:
    with TeacherServer(rows) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def options(server: TeacherServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., EndpointOptions]:
    """Options for the server, quick to repeat; the key is in the environment."""
    monkeypatch.setenv("TEACHER_KEY", KEY)

    def build(**changes: Any) -> EndpointOptions:
        quick = {"base_url": server.url, "model": "teacher", "api_key_env": "TEACHER_KEY", "first_wait_s": 0.001}
        return EndpointOptions(**(quick | changes))

    return build
