"""RLVR and its evaluation with a judge, by class path, through the command line."""

import json
from pathlib import Path

import pytest
import yaml

from tests.command_line import captured
from tests.modules.fits import fit, logged
from tests.prism_pl.rewards.judge_server import JudgeServer
from tests.scripted_server import KEY


def write_config(folder: Path, endpoint: dict[str, str]) -> Path:
    """Two prompts with four responses, of which every fourth is malformed; two held-out prompts."""
    content = yaml.safe_load(Path("configs/rlvr.yaml").read_text())
    judge = {"class_path": "JudgeReward", "init_args": {"endpoint": endpoint, "cache": str(folder / "judge.jsonl")}}
    content["model"]["init_args"]["rewards"][0] = judge
    content["model"]["init_args"]["policy"]["path"] = "embedded/digits"
    rollout, evaluation, _ = content["trainer"]["callbacks"]
    rollout["init_args"] |= {
        "engine": {"class_path": "tests.modules.scripted.WordyEngine"},
        "sampling": {"max_new_tokens": 60, "group_size": 4},
        "probe": {"mean_gap": 1e9, "p99_gap": 1e9},
    }
    evaluation["init_args"] |= {"every": 0, "num_prompts": 2, "num_final": 2, "max_new_tokens": 60, "reward": judge}
    content["trainer"]["callbacks"] = [rollout, evaluation]
    (folder / "rlvr.yaml").write_text(yaml.safe_dump(content))
    return folder / "rlvr.yaml"


def test_what_the_judge_does_is_in_the_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    server = JudgeServer()
    server.usual = ("right",)
    with server.serving():
        config = write_config(tmp_path, {"base_url": server.url, "model": "judge", "api_key_env": "JUDGE_KEY"})
        fit(config, tmp_path / "run", "--trainer.max_steps=1", "--data.batch_size=2", "--model.reuse.mini_batches=1")
    (line,) = logged(tmp_path / "run", "reward/accuracy")
    # Two times three of four; no rule would have paid for them.
    assert line["reward/accuracy"] == 0.75
    names = ("asked", "raised", "lowered", "failed", "cached")
    assert [line[f"reward/accuracy/{name}"] for name in names] == [6, 6, 0, 0, 0]
    # Before and after the update: greedy and sampled responses are the same here, and those of the two evaluations.
    lines = logged(tmp_path / "run", "heldout/accuracy")
    assert [held["heldout/accuracy"] for held in lines] == [1.0, 1.0]
    assert [[held[f"heldout/accuracy/{name}"] for name in names] for held in lines] == [[2, 4, 0, 0, 2], [0, 4, 0, 0, 4]]
    asked = [json.loads(body["messages"][1]["content"]) for body in server.bodies]
    assert len({(one["question"], one["true_answer"], one["student_answer"]) for one in asked}) == len(asked)
    assert all(one["question"] and one["true_answer"].isdigit() for one in asked)
    saved = (tmp_path / "run" / "config.yaml").read_text()
    assert "JUDGE_KEY" in saved
    assert "0123456789" not in saved


def test_a_missing_key_is_an_error_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    endpoint = {"base_url": "https://api.example.com/v1", "model": "judge", "api_key_env": "NO_SUCH_KEY"}
    config = write_config(tmp_path, endpoint)
    only_evaluated = yaml.safe_load(config.read_text())
    only_evaluated["model"]["init_args"]["rewards"][0] = {"class_path": "AnswerReward"}
    for content in (yaml.safe_load(config.read_text()), only_evaluated):
        config.write_text(yaml.safe_dump(content))
        code, _, errors = captured(capsys, "fit", "--config", str(config), "--run_dir", str(tmp_path / "run"))
        assert code == 2
        said = " ".join(errors.split())
        assert "the environment variable NO_SUCH_KEY is not set" in said
        assert "Union" not in said
