"""Models behind a real ``vllm serve`` that ``evaluate`` starts for them, against vLLM in its own process."""

import importlib.util
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from prism_pl.command_line.catalogue import find_command
from prism_pl.command_line.configurations import with_config_folder
from prism_pl.command_line.front import parse
from prism_pl.commands.evaluate import evaluate
from prism_pl.data.files import DataFile
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.endpoint import Answer
from prism_pl.engines import TransformersEngine
from prism_pl.errors import UserError
from prism_pl.evaluation.server_responder import ServerResponder
from prism_pl.evaluation.subjects import EvaluationSet, Subject
from prism_pl.runs.files import read_lines
from prism_pl.vllm_server import ServerOptions
from tests.command_line import run, start

HELDOUT = f"{EMBEDDED_NAME}/heldout.jsonl"
COMPUTING = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 16}
# The start model says nothing that is right. This finds some of it right, and some half right, whatever stands for the
# first bytes of a character that was cut off.
REWARD = """
def score(inputs):
    return [len(set(i["response"].rstrip(chr(0xFFFD)))) % 3 / 2 for i in inputs]
"""

Configure = Callable[..., str]


@pytest.fixture
def configure(tmp_path: Path, embedded: Path) -> Configure:
    """A configuration by its name, which is that of its folder, too."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    (tmp_path / "mine.py").write_text(REWARD)

    def write(name: str, prompts: int, **answering: Any) -> str:
        content = {
            "models": [EMBEDDED_NAME],
            "sets": [{"path": HELDOUT, "num_prompts": prompts}],
            "reward": {"class_path": "PythonReward", "init_args": {"function": f"{tmp_path}/mine.py:score"}},
            "max_new_tokens": 24, "num_samples": 2, "seeds": [3], "max_prompt_tokens": 64, "out": str(tmp_path / name),
        }  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content | answering))
        return str(tmp_path / f"{name}.yaml")

    return write


def figures(out: Path) -> Any:
    return json.loads((out / "table.json").read_text())["results"]


def servers_of(parent: int) -> list[psutil.Process]:
    """The guard, the server and vLLM's own processes."""
    children = psutil.Process(parent).children(recursive=True)
    return [own for own in children if "vllm" in " ".join(own.cmdline()).lower()]


def whole(line: dict[str, Any]) -> dict[str, Any]:
    """A line without the character that an engine writes for one of which the length limit has left the first bytes alone.
    A server leaves it out: it writes tokens as they come, and waits for the rest."""
    replies = [reply | {"text": reply["text"].rstrip("\ufffd")} for reply in line["responses"]]
    return line | {"responses": replies}


@pytest.mark.faults
def test_the_responses_are_those_of_the_engine(tmp_path: Path, configure: Configure) -> None:
    """Greedy and sampled, token for token, with the same figures; and nothing of the server is left."""
    assert run("evaluate", "--config", configure("server", 20, server=COMPUTING)) == 0
    assert servers_of(psutil.Process().pid) == []
    engine = {"class_path": "VLLMEngine", "init_args": COMPUTING}
    assert run("evaluate", "--config", configure("engine", 20, engine=engine)) == 0
    for name in ("greedy", "seed3"):
        own, other = (
            {line["row"]: whole(line) for line in read_lines(tmp_path / out / "heldout" / EMBEDDED_NAME / f"{name}.jsonl")}
            for out in ("server", "engine")
        )
        assert len(own) == 20
        assert own == other, name
    assert figures(tmp_path / "server") == figures(tmp_path / "engine")
    assert 0 < figures(tmp_path / "server")[0]["figures"]["greedy"]["mean"] < 1
    log = (tmp_path / "server" / "servers" / f"{EMBEDDED_NAME}.log").read_text()
    assert "--generation-config vllm" in log.splitlines()[0]
    # A finished evaluation starts no server.
    assert run("evaluate", "--config", configure("server", 20, server=COMPUTING)) == 0
    assert (tmp_path / "server" / "servers" / f"{EMBEDDED_NAME}.log").read_text() == log
    # By another way others are not mixed in.
    assert run("evaluate", "--config", configure("server", 21, engine={"class_path": "TransformersEngine"})) == 2


def answered(file: Path) -> int:
    return len(read_lines(file))


@pytest.mark.faults
def test_kills_of_the_command_and_of_its_server(
    tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    config, file = (
        configure("killed", 150, server=COMPUTING),
        tmp_path / "killed" / "heldout" / EMBEDDED_NAME / "greedy.jsonl",
    )
    command = start("evaluate", "--config", config)
    while not answered(file):
        assert command.poll() is None, command.communicate()
        time.sleep(0.01)
    processes = servers_of(command.pid)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    # Guard, server, and the engine, which is vLLM's.
    assert len(processes) >= 3
    assert not psutil.wait_procs(processes, timeout=60)[1]
    before = answered(file)
    assert 0 < before < 150

    def kill_the_server() -> None:
        while answered(file) == before:
            time.sleep(0.01)
        for process in psutil.Process().children(recursive=True):
            if "api_server" in " ".join(process.cmdline()) and "guard.py" not in " ".join(process.cmdline()):
                process.kill()

    killer = threading.Thread(target=kill_the_server)
    killer.start()
    capsys.readouterr()
    assert run("evaluate", "--config", config) == 2
    killer.join()
    said = " ".join(capsys.readouterr().err.split())
    assert f"server: that of {EMBEDDED_NAME} ended amid its work, with" in said
    assert "Its last words: " in said
    assert "the same command goes on." in said
    assert servers_of(psutil.Process().pid) == []
    assert run("evaluate", "--config", config) == 0
    assert sorted(line["row"] for line in read_lines(file)) == list(range(150))
    assert figures(tmp_path / "killed")[0]["questions"] == 150


def test_a_server_that_cannot_start_says_why(tmp_path: Path, configure: Configure) -> None:
    own = EvaluationSet(path=HELDOUT, num_prompts=1)
    message = (
        rf"^server: that of {EMBEDDED_NAME} ended with code 2 before it answered\. Its last words: .*'float31'.* Its log"
    )
    with pytest.raises(UserError, match=message):
        evaluate(
            [own], str(tmp_path / "out"), max_new_tokens=8, models=[EMBEDDED_NAME], server=ServerOptions(dtype="float31")
        )


def test_a_prompt_that_the_server_reads_otherwise_is_named(tmp_path: Path, embedded: Path) -> None:
    responder = ServerResponder(Subject("mine", EMBEDDED_NAME, None), ServerOptions(), 64, 8, tmp_path / "log")
    row = DataFile.open(HELDOUT, "test").prompt_row(4)
    count = len(responder.encoder.encode([row])[0].input_ids)
    responder.check(row, Answer("", "stop", count, 1))
    message = rf"^server: \S*heldout.jsonl:5: mine read {count - 1} tokens where an engine reads {count}\."
    with pytest.raises(UserError, match=message):
        responder.check(row, Answer("", "stop", count - 1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": TransformersEngine()}, "server, engine: a model is answered by one of them"),
        ({"devices": 2}, "devices: these are copies of an engine"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, embedded: Path, options: dict[str, Any], message: str
) -> None:
    own = EvaluationSet(path=HELDOUT, num_prompts=1)
    with pytest.raises(UserError, match=message):
        evaluate(
            [own], str(tmp_path), max_new_tokens=8, models=[EMBEDDED_NAME], server=ServerOptions(), **options
        )  # fmt: skip


def test_the_shipped_configuration_takes_a_server_instead() -> None:
    arguments = ["--config", "eval.yaml", "--engine", "null", "--server.dtype", "float32", "--server.max_num_seqs", "32"]
    options = parse(find_command("evaluate"), with_config_folder(arguments))
    assert (options["engine"], options["server"]) == (None, ServerOptions(dtype="float32", max_num_seqs=32))
