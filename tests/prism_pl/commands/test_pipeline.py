"""The pipeline skips what is finished, resumes what is not, and redoes what follows a change. Stages are tiny programs."""

import concurrent.futures
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from prism_pl.commands import pipeline
from prism_pl.commands.pipeline import Stage, run_pipeline
from prism_pl.errors import UserError
from prism_pl.runs import jobs
from prism_pl.runs.files import finish, read_lines, stage_identity
from prism_pl.runs.graph import RecordedStage, read_graph
from tests.command_line import finish as wait_for
from tests.command_line import start
from tests.short_fit import SFT

STAGES = [
    Stage("a", "a.yaml"),
    Stage("b", "b.yaml", {"model.policy.path": "a"}),
    Stage("c", "c.yaml", {"model.policy.path": "b"}),
]


@pytest.fixture
def configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages' configurations, in the current folder, where no program reads them."""
    monkeypatch.chdir(tmp_path)
    for name in "abcm":
        (tmp_path / f"{name}.yaml").touch()


@pytest.fixture
def runs(configurations: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the training command by one that notes its name in the stage's folder."""
    log: list[str] = []

    def command(run_dir: Path, stage: Stage, seed: int) -> list[str]:
        log.append(stage.name)
        finish(run_dir / stage.name, 1, None)
        return [sys.executable, "-c", "pass"]

    monkeypatch.setattr(pipeline, "_command", command)
    return log


def test_a_second_run_skips_everything(tmp_path: Path, runs: list[str]) -> None:
    run_pipeline(tmp_path, STAGES, 0)
    run_pipeline(tmp_path, STAGES, 0)
    assert runs == ["a", "b", "c"]


@pytest.mark.parametrize(("own", "group"), [(None, "{run}"), ("mine", "mine")])
def test_stages_of_a_run_are_a_group_of_wandb(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch, own: str | None, group: str
) -> None:
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    if own:
        monkeypatch.setenv("WANDB_RUN_GROUP", own)
    given: list[dict[str, str]] = []

    def launch(folder: Path, command: list[str], environment: dict[str, str]) -> bool:
        given.append(environment)
        return True

    assert pipeline.run_stage(tmp_path, STAGES[0], 0, 1, launch)
    assert given == [{"OMP_NUM_THREADS": "1", "WANDB_RUN_GROUP": group.format(run=tmp_path)}]


@pytest.mark.parametrize(("threads", "used"), [(None, 2), (1, 1)])
def test_the_report_keeps_to_the_stages_threads(
    tmp_path: Path, runs: list[str], monkeypatch: pytest.MonkeyPatch, threads: int | None, used: int
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(pipeline, "report", lambda runs: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pipeline.pipeline(str(tmp_path), STAGES, threads=threads)
    finally:
        torch.set_num_threads(before)
    assert seen == [used]


def test_a_removed_stage_is_redone_with_all_that_follows(tmp_path: Path, runs: list[str]) -> None:
    run_pipeline(tmp_path, STAGES, 0)
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    (tmp_path / "b").rmdir()
    run_pipeline(tmp_path, STAGES, 0)
    assert runs == ["a", "b", "c", "b", "c"]
    # The old third stage was made from the old second one; it is kept.
    assert (tmp_path / "c.1" / "finished.json").exists()
    assert json.loads((tmp_path / "c" / "inputs.json").read_text())["b"] == stage_identity(tmp_path / "b")


def test_another_seed_starts_anew(tmp_path: Path, runs: list[str]) -> None:
    run_pipeline(tmp_path, STAGES, 0)
    run_pipeline(tmp_path, STAGES, 1)
    assert runs == ["a", "b", "c", "a", "b", "c"]


def test_the_command_hands_the_model_folders_over(tmp_path: Path) -> None:
    command = pipeline._command(tmp_path, STAGES[1], 3)
    assert command[1:] == [
        "-m", "prism_pl", "fit", "--config", "b.yaml", "--run_dir", str(tmp_path / "b"), "--seed_everything", "3",
        "--model.policy.path", str(tmp_path / "a" / "model"),
    ]  # fmt: skip


# A and b meet: each waits until the other has begun, so they end only if they run side by side.
MEETS = """
import pathlib, sys, time
own, other = map(pathlib.Path, sys.argv[1:])
own.touch()
for _ in range(600):
    if other.exists():
        raise SystemExit(0)
    time.sleep(0.05)
raise SystemExit(1)
"""


@pytest.fixture
def programs(configurations: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Replaces each stage's training command by a program of its own; one that is not named ends well at once."""
    commands: dict[str, list[str]] = {}

    def command(run_dir: Path, stage: Stage, seed: int) -> list[str]:
        return [sys.executable, "-c", *commands.get(stage.name, ["pass"])]

    monkeypatch.setattr(pipeline, "_command", command)
    return commands


def test_stages_run_side_by_side_and_each_after_those_it_reads(
    tmp_path: Path, programs: dict[str, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    begun = [str(tmp_path / name) for name in ("a.begun", "b.begun")]
    programs["a"], programs["b"] = [MEETS, *begun], [MEETS, *reversed(begun)]
    programs["c"] = ["import os; print(os.environ['OMP_NUM_THREADS'], 'thread')"]
    stages = [Stage("a", "a.yaml"), Stage("b", "b.yaml"), Stage("c", "c.yaml", {"one": "a", "two": "b"})]
    run_pipeline(tmp_path, stages, 0, jobs=2, threads=1)
    printed = capfd.readouterr().out.splitlines()
    assert sorted(printed[:2]) == [f"{name}: {name}.yaml -> {tmp_path / name}" for name in "ab"]
    assert printed[2:] == [f"c: c.yaml -> {tmp_path / 'c'}", "c: 1 thread"]


def test_what_runs_beside_a_failure_is_let_finish_and_nothing_follows(
    tmp_path: Path, programs: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "failure.seen"

    def wait(running: Any, **options: Any) -> Any:
        result = concurrent.futures.wait(running, **options)
        seen.touch()
        return result

    # A ends only after the pipeline has seen B's failure.
    monkeypatch.setattr(jobs, "wait", wait)
    programs["a"], programs["b"] = [MEETS, str(tmp_path / "a.begun"), str(seen)], ["raise SystemExit(3)"]
    stages = [Stage("a", "a.yaml"), Stage("b", "b.yaml"), Stage("c", "c.yaml", {"key": "a"})]
    with pytest.raises(UserError, match="Stage b failed"):
        run_pipeline(tmp_path, stages, 0, jobs=2)
    assert not (tmp_path / "c").exists()


def test_a_graph_that_cannot_run_is_refused_before_anything_starts(tmp_path: Path, runs: list[str]) -> None:
    for more, message in (
        (Stage("d", "d.yaml", {"model.policy.path": "alig"}), "d: inputs.model.policy.path: there is no stage 'alig'"),
        (Stage("a", "a.yaml"), "two have the name 'a'"),
        (Stage("d", "filtre.yaml", {}), r"--config: filtre.yaml is neither .* Did you mean filter.yaml"),
        (Stage("d", "a.yaml", {"data.path": "m"}), "d: inputs.data.path: m is a measure, which makes nothing to take"),
    ):
        with pytest.raises(UserError, match=message):
            run_pipeline(tmp_path, [*STAGES, Stage("m", "m.yaml", command="measure"), more], 0)
    assert runs == []


def test_the_graph_is_recorded_for_the_report(tmp_path: Path, runs: list[str]) -> None:
    assert read_graph(tmp_path) is None
    stages = [Stage("a", "a.yaml", title="Start"), Stage("b", "b.yaml", {"policy": "a"}, command="filter")]
    run_pipeline(tmp_path, stages, 0)
    assert read_graph(tmp_path) == [
        RecordedStage("a", "fit", {}, "Start"), RecordedStage("b", "filter", {"policy": "a"}, None),
    ]  # fmt: skip


def test_of_a_progress_bar_one_line_now_and_then_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    bar = "".join(f"updates: {n}/50\r" for n in range(50)) + "updates: 50/50\nlast line"
    pipeline._relay("sft", io.StringIO(bar, newline=""))
    assert capsys.readouterr().out == "sft: updates: 0/50\nsft: updates: 50/50\nsft: last line\n"


def test_options_are_numbers_and_words_alike(tmp_path: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--stages", type=list[Stage])
    options = {"trainer.max_steps": 70, "model.reuse.mini_batches": "2", "data.drop_too_long": True, "lr": 5.0e-5}
    given = {"stages": [{"name": "a", "config": "a.yaml", "options": options}]}
    (stage,) = parser.instantiate_classes(parser.parse_object(given)).stages
    assert pipeline._command(tmp_path, stage, 0)[10:] == [
        "--trainer.max_steps", "70", "--model.reuse.mini_batches", "2", "--data.drop_too_long", "True", "--lr", "5e-05",
    ]  # fmt: skip


FIT = (
    SFT
    + """\
trainer: {max_steps: 1, logger: false}
"""
)
FILTER = """
path: {path: ROOT/small.jsonl, image_root: embedded/digits}
engine: {class_path: TransformersEngine, init_args: {device: cpu}}
sampling: {max_new_tokens: 4, group_size: 2}
reward: {class_path: PythonReward, init_args: {function: "ROOT/reward.py:score"}}
"""
# Of the two samples of every second row one is right.
REWARD = """
seen = {}

def score(inputs):
    scores = []
    for i in inputs:
        row = int(i["source"].rpartition(":")[2])
        seen[row] = seen.get(row, 0) + 1
        scores.append(float(seen[row] <= row % 2))
    return scores
"""
PIPELINE = """
run_dir: ROOT/run
threads: 1
stages:
  - {name: sft, config: ROOT/fit.yaml}
  - {name: filter, command: filter, config: ROOT/filter.yaml, inputs: {policy: sft}}
  - {name: more, config: ROOT/fit.yaml, inputs: {model.policy.path: sft, data.path: filter}}
"""


def test_a_real_filter_stage_takes_a_model_and_hands_its_prompts_over(tmp_path: Path, embedded: Path) -> None:
    (tmp_path / "small.jsonl").write_text("\n".join((embedded / "align.jsonl").read_text().splitlines()[:10]) + "\n")
    (tmp_path / "reward.py").write_text(REWARD)
    for name, text in (("fit", FIT), ("filter", FILTER), ("pipeline", PIPELINE)):
        (tmp_path / f"{name}.yaml").write_text(text.replace("ROOT", str(tmp_path)))
    run = tmp_path / "run"
    wait_for(start("pipeline", "--config", str(tmp_path / "pipeline.yaml")))
    assert json.loads((run / "filter" / "filter.json").read_text())["policy"] == str(run / "sft" / "model")
    trained_on = yaml.safe_load((run / "more" / "config.yaml").read_text())["data"]["init_args"]["path"]
    assert trained_on["path"] == str(run / "filter" / "kept.parquet")
    assert [line["pass_rate"] for line in read_lines(run / "filter" / "pass_rates.jsonl")] == [0.5, 0.0] * 5
    made_from = json.loads((run / "more" / "inputs.json").read_text())
    assert made_from == {"seed": "0", **{name: stage_identity(run / name) for name in ("sft", "filter")}}
