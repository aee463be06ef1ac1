"""A teacher that plays a script, and the rows that it is asked about."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prism_pl.endpoint import EndpointOptions
from prism_pl.seeds import derive_seed
from tests.scripted_server import KEY, ScriptedServer, chat_completion

GOOD = "<caption>\n- two digits\n</caption>\n<think>\nI read them.\n</think>\n<answer>\n{answer}\n</answer>"
CONTENTS: dict[str, Any] = {
    "verified": GOOD,
    "wrong": GOOD.replace("{answer}", "-1"),
    "malformed": "<caption>a</caption><answer>{answer}</answer>",
    "outside": "Here you are: " + GOOD,
    "empty": "",
    "null": None,
}


class TeacherServer(ScriptedServer):
    """A question is a row and a try. Those without a script are verified."""

    usual = ("verified",)

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self.rows = rows
        self.row_of_image = {Path(row["images"][0]).read_bytes(): index for index, row in enumerate(rows)}
        assert len(self.row_of_image) == len(rows)

    def identify(self, body: dict[str, Any]) -> tuple[int, int]:
        """Row and try: the row from the image's bytes, the try from the seed."""
        (url,) = [part["image_url"]["url"] for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
        assert url.startswith("data:image/png;base64,")
        row = self.row_of_image[base64.b64decode(url.partition(",")[2], validate=True)]
        (number,) = [number for number in range(20) if derive_seed(0, "curate", row, number) == body["seed"]]
        return row, number

    def completion(self, act: str, key: tuple[int, int], echo: str) -> dict[str, Any] | None:
        row, number = key
        said = {**CONTENTS, "length": "<caption>\n- two dig", "unmetered": GOOD, "echo": f"{GOOD} {echo}"}
        if act not in said:
            return None
        text = said[act] and said[act].replace("{answer}", self.rows[row]["answer"])
        answer = chat_completion(text, "length" if act == "length" else "stop", 1000 + row, 10 + number)
        return answer | {"usage": None} if act == "unmetered" else answer


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
    server = TeacherServer(rows)
    with server.serving():
        yield server


@pytest.fixture
def options(server: TeacherServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., EndpointOptions]:
    """Options for the server, quick to repeat; the key is in the environment."""
    monkeypatch.setenv("TEACHER_KEY", KEY)

    def build(**changes: Any) -> EndpointOptions:
        quick = {"base_url": server.url, "model": "teacher", "api_key_env": "TEACHER_KEY", "first_wait_s": 0.001}
        return EndpointOptions(**(quick | changes))

    return build
