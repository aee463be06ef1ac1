"""The commands of README.md and docs/ run as they stand, on small data, each after those before it on its page."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.not_run import reason
from tests.docs.pages import ROOT, Command, blocks, commands
from tests.docs.scratch import environment, execute, write_configurations, write_rows

pytestmark = pytest.mark.docs

COMMANDS = [command for command in commands() if reason(command.text) is None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the demo's run, as ``make demo`` leaves it, and a run of alignment that was cut short."""
    folder = tmp_path_factory.mktemp("pages")
    write_rows(folder)
    write_configurations(folder)
    execute(folder, shlex.split("python -m prism_pl pipeline --config demo.yaml"))
    cut_short(folder)
    return folder


def cut_short(folder: Path) -> None:
    """Leaves ``runs/align`` with a checkpoint, by SIGTERM after its first update."""
    words = [sys.executable, *shlex.split("-m prism_pl fit --config align.yaml --trainer.max_steps 1000")]
    with (folder / "align.log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, env=environment(), stdout=log, stderr=log)
        metrics, deadline = folder / "runs" / "align" / "metrics.jsonl", time.monotonic() + 300
        while not (metrics.exists() and "reward_gap" in metrics.read_text()) and time.monotonic() < deadline:
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 75, (folder / "align.log").read_text()[-3000:]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_command_runs(command: Command, folder: Path) -> None:
    execute(folder, command.words)


def test_the_python_of_the_evaluation_page_runs(folder: Path) -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text()
    (code,) = ("\n".join(lines) for _, lines in blocks(page) if lines[0].startswith("from "))
    execute(folder, ["python", "-c", code])
