"""A judge as the reward of a command: what it did is in the closing lines and beside what the command writes."""

import json
from pathlib import Path

import pytest

from prism_pl.commands.filter import filter_prompts
from prism_pl.commands.measure import measure
from prism_pl.data.files import DataSource
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.rewards import JudgeEndpoint, JudgeReward
from prism_pl.types import SamplingOptions
from tests.modules.scripted import WordyEngine
from tests.prism_pl.rewards.judge_server import JudgeServer

ROWS = 2


def run(command: str, folder: Path, reward: JudgeReward) -> None:
    source, engine = DataSource(path=str(folder / "rows.jsonl"), image_root=EMBEDDED_NAME), WordyEngine()
    if command == "filter":
        sampling = SamplingOptions(max_new_tokens=60, group_size=4)
        filter_prompts(EMBEDDED_NAME, source, str(folder / "out"), engine, sampling, reward, low=0, high=1)
    else:
        measure(EMBEDDED_NAME, source, str(folder / "out"), engine, max_new_tokens=60, num_samples=4, reward=reward)


@pytest.mark.parametrize(("command", "asked"), [("filter", 3 * ROWS), ("measure", 5 * ROWS)])
def test_the_judges_counts_are_printed_and_kept(
    command: str, asked: int, tmp_path: Path, embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (embedded / "rlvr.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text("".join(lines[:ROWS]))
    server = JudgeServer()
    server.usual = ("right",)
    with server.serving():
        # Of four samples one is malformed and asked about by nobody; `measure` asks for two further responses a prompt.
        reward = JudgeReward(
            endpoint=JudgeEndpoint(base_url=server.url, model="judge"), cache=str(tmp_path / "judge.jsonl"), processes=1
        )
        run(command, tmp_path, reward)
        assert f"accuracy: {asked} asked, 0 cached, {asked} raised, 0 lowered, 0 failed\n" in capsys.readouterr().out
        # Another run in the folder grades nothing again; its totals are the folder's.
        run(command, tmp_path, reward)
        assert f"accuracy: {asked} asked, 0 cached, {asked} raised, 0 lowered, 0 failed\n" in capsys.readouterr().out
        (tmp_path / "rows.jsonl").write_text("".join(lines[: ROWS + 1]))
        (tmp_path / "judge.jsonl").unlink()
        run(command, tmp_path, reward)
    more = asked * (ROWS + 1) // ROWS
    kept = json.loads((tmp_path / "out" / "reward_counts.json").read_text())
    assert kept == {
        "reward": "accuracy",
        "counts": {"asked": more, "cached": 0, "raised": more, "lowered": 0, "failed": 0},
    }
    assert len(server.seen) == more
