"""A study goes on after failures and kills, measures and compares its arms. Stages are tiny programs, but for one test."""

import csv
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from prism_pl.commands import pipeline
from prism_pl.commands.pipeline import Stage
from prism_pl.commands.study import Measure, ended_by_signals, study
from prism_pl.errors import UserError
from prism_pl.runs.files import finish, stage_identity
from prism_pl.runs.graph import read_graph
from prism_pl.runs.processes import LoggedPrograms, SoleWorker
from prism_pl.study.plan import Arm
from tests.command_line import captured, start
from tests.command_line import finish as wait_for
from tests.prism_pl.study.records import answered
from tests.short_fit import SFT

GRID = [
    Stage("base", "base_of_test.yaml"),
    Stage("sft", "sft.yaml", {"model.policy.path": "base"}),
    Stage("align", "align.yaml", {"model.policy.path": "sft"}),
    Stage("rlvr", "rlvr.yaml", {"model.policy.path": "align"}),
    Stage("direct", "rlvr.yaml", {"model.policy.path": "sft"}),
]
ARMS = [Arm("SFT", "sft"), Arm("aligned", "rlvr"), Arm("direct", "direct")]
# Greedy scores of two prompts, by stage.
SCORES = {"sft": (0.0, 0.0), "rlvr": (1.0, 1.0), "direct": (1.0, 0.0)}


class Grid:
    """Replaces every stage's program; ``failing`` names stages of a seed, as ``seed0/align``."""

    def __init__(self, root: Path) -> None:
        self.root, self.log, self.failing = root, [], set[str]()
        self.log: list[str]

    def command(self, run_dir: Path, stage: Stage, seed: int) -> list[str]:
        name, folder = f"{run_dir.name}/{stage.name}", run_dir / stage.name
        self.log.append(name)
        if name in self.failing:
            return [sys.executable, "-c", "raise SystemExit('no memory left')"]
        if stage.command == "measure":
            scores = SCORES[stage.inputs["policy"]]
            records = [answered(row, score, [score, 0.0], ["", ""]) for row, score in enumerate(scores)]
            (folder / "measured.jsonl").write_text("".join(json.dumps(asdict(record)) + "\n" for record in records))
            (folder / "measured.json").write_text(json.dumps({"figures": {"greedy": sum(scores) / 2}}))
            (folder / "measure.json").write_text(json.dumps({"policy": name, "seed": seed, "num_samples": 2}))
        else:
            (folder / "metrics.jsonl").write_text('{"step": 1, "seconds/update": 1.5, "seconds/rollout": 0.5, "loss": 9}\n')
        finish(folder, 10, None)
        return [sys.executable, "-c", "print('made')"]

    def run(self, **changes: Any) -> None:
        study(**({"run_dir": str(self.root), "stages": GRID, "arms": ARMS, "reference": "direct", "seeds": [0, 1],
                  "shared": ["base"], "jobs": 2} | changes))  # fmt: skip

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader((self.root / "study.csv").read_text().splitlines()))


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    made = Grid(tmp_path / "study")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base_of_test.yaml").write_text("trainer: {}\n")
    monkeypatch.setattr(pipeline, "_command", made.command)
    return made


def test_every_seed_runs_the_graph_and_shared_stages_run_once(grid: Grid) -> None:
    grid.run()
    own = ["sft", "align", "rlvr", "direct", "measured/sft", "measured/rlvr", "measured/direct"]
    assert sorted(grid.log) == sorted(["shared/base", *(f"seed{seed}/{name}" for seed in (0, 1) for name in own)])
    assert grid.log[0] == "shared/base"
    assert (grid.root / "seed1" / "base" / "finished.json").exists()
    assert json.loads((grid.root / "seed1" / "sft" / "inputs.json").read_text()) == {
        "base": stage_identity(grid.root / "shared" / "base"), "seed": "1",
    }  # fmt: skip
    assert [stage.name for stage in read_graph(grid.root / "seed1") or []] == ["base", "sft", "align", "rlvr", "direct"]
    assert (grid.root / "seed1" / "sft" / "log.txt").read_text().endswith("\nmade\n")
    rows = grid.rows()
    assert [(row["arm"], row["seed"], row["greedy"]) for row in rows] == [
        ("SFT", "0", "0.0"), ("SFT", "1", "0.0"), ("aligned", "0", "1.0"), ("aligned", "1", "1.0"),
        ("direct", "0", "0.5"), ("direct", "1", "0.5"),
    ]  # fmt: skip
    # base, sft, align, rlvr: 4 stages of 10 updates and 1.5 + 0.5 seconds.
    assert (rows[2]["updates"], rows[2]["seconds"]) == ("40", "8.0")
    text = (grid.root / "study.md").read_text()
    assert "| aligned | direct | 2 | +0.500" in text
    assert (grid.root / "study.svg").exists()


def test_a_second_run_only_writes_the_table(grid: Grid) -> None:
    grid.run()
    before = list(grid.log)
    (grid.root / "study.md").unlink()
    grid.run()
    assert grid.log == before
    assert (grid.root / "study.md").exists()


def test_a_failure_stops_what_is_made_from_it_and_is_listed(grid: Grid, capfd: pytest.CaptureFixture[str]) -> None:
    grid.failing = {"seed0/align"}
    with pytest.raises(SystemExit) as end:
        grid.run()
    assert end.value.code == 1
    said = capfd.readouterr().out
    log = grid.root / "seed0" / "align" / "log.txt"
    assert f"seed0/align: {log}" in said
    assert "no memory left" in log.read_text()
    assert "Not run, as they need one of these: seed0/rlvr, seed0/measured/rlvr." in said
    assert [(row["arm"], row["seed"]) for row in grid.rows()] == [
        ("SFT", "0"), ("SFT", "1"), ("aligned", "1"), ("direct", "0"), ("direct", "1"),
    ]  # fmt: skip
    assert "- aligned, seed 0: not run." in (grid.root / "study.md").read_text()
    # The cause is mended: only what is missing runs.
    grid.failing, grid.log = set(), []
    grid.run()
    assert sorted(grid.log) == ["seed0/align", "seed0/measured/rlvr", "seed0/rlvr"]
    assert len(grid.rows()) == 6


def test_a_redone_stage_is_measured_anew(grid: Grid) -> None:
    grid.run()
    grid.log = []
    (grid.root / "seed1" / "direct" / "finished.json").unlink()
    grid.run()
    assert grid.log == ["seed1/direct", "seed1/measured/direct"]
    assert (grid.root / "seed1" / "measured" / "direct.1").is_dir()


def test_arms_measured_differently_are_not_compared(grid: Grid) -> None:
    grid.run()
    file = grid.root / "seed1" / "measured" / "rlvr" / "measure.json"
    file.write_text(json.dumps({"policy": "x", "seed": 1, "num_samples": 16}))
    with pytest.raises(UserError, match=r"seed1/measured/rlvr was measured with num_samples 16, not 2"):
        grid.run()


def test_mistakes_are_named_before_anything_runs(grid: Grid) -> None:
    with pytest.raises(UserError, match=r"num_smples: the command has no such key. Did you mean num_samples"):
        grid.run(measure=Measure(options={"num_smples": 3}))
    with pytest.raises(UserError, match=r"--config: alin.yaml is neither"):
        grid.run(stages=[*GRID, Stage("x", "alin.yaml")])
    with pytest.raises(UserError, match="arms: y: the stage x is a filter and has no model"):
        grid.run(stages=[*GRID, Stage("x", "filter.yaml", command="filter")], arms=[*ARMS, Arm("y", "x")])
    assert grid.log == []


def test_a_folder_is_waited_for_while_a_program_holds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs, entered = LoggedPrograms(), threading.Event()

    def second() -> None:
        with SoleWorker(tmp_path / "sft", programs) as worker:
            assert worker.entered
            entered.set()

    with SoleWorker(tmp_path / "sft", programs):
        thread = threading.Thread(target=second)
        thread.start()
        while "still at work" not in capsys.readouterr().out:
            time.sleep(0.05)
        assert not entered.is_set()
    thread.join()
    assert entered.is_set()


def test_a_signal_ends_the_programs(tmp_path: Path) -> None:
    def kill() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    done: list[bool] = []
    command = [
        sys.executable,
        "-c",
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'begun')!r}).touch(); time.sleep(600)",
    ]
    with pytest.raises(SystemExit) as end, ended_by_signals(LoggedPrograms()) as programs:  # noqa: PT012
        threading.Thread(target=lambda: done.append(programs.run(command, tmp_path / "log.txt", {}))).start()
        threading.Thread(target=kill).start()
        time.sleep(600)
    assert end.value.code == 128 + signal.SIGTERM
    while not done:
        time.sleep(0.05)
    assert done == [False]
    assert not programs.run(command, tmp_path / "log.txt", {})


SMALL = (
    SFT
    + """\
trainer: {max_steps: 2, logger: false}
"""
)
REAL = """
run_dir: {root}/run
seeds: [3]
shared: [base]
jobs: 2
threads: 1
stages:
  - {{name: base, config: {root}/small.yaml, options: {{trainer.max_steps: 1}}}}
  - {{name: sft, config: {root}/small.yaml, inputs: {{model.policy.path: base}}}}
arms: [{{name: SFT, stage: sft}}]
reference: SFT
measure: {{options: {{num_prompts: 8, num_samples: 2, max_new_tokens: 6}}}}
"""


@pytest.mark.faults
def test_a_real_study_is_killed_and_goes_on(tmp_path: Path, embedded: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "study.yaml").write_text(REAL.format(root=tmp_path))
    run = tmp_path / "run"
    killed = start("study", "--config", str(tmp_path / "study.yaml"))
    while not (run / "seed3" / "sft" / "log.txt").exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.1)
    # Only the study: the stage that it has started goes on, and must not be started twice.
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    base = stage_identity(run / "shared" / "base")
    wait_for(start("study", "--config", str(tmp_path / "study.yaml")))
    assert stage_identity(run / "shared" / "base") == base
    assert (run / "seed3" / "sft" / "log.txt").read_text().count("$ ") == 1
    assert not (run / "seed3" / "sft.1").exists()
    rows = list(csv.DictReader((run / "study.csv").read_text().splitlines()))
    assert [(row["arm"], row["prompts"], row["updates"]) for row in rows] == [("SFT", "8", "3")]
    assert all(float(row["seconds"]) > 0 for row in rows)
    lines = [json.loads(line) for line in (run / "seed3/measured/sft/measured.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == list(range(8))
    assert all(len(line["sampled"]) == 2 and line["teacher_tokens"] > 0 for line in lines)


@pytest.mark.parametrize("config", ["claim.yaml", "claim_parts.yaml"])
def test_the_claim_is_a_whole_grid(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stops before anything runs, after the grid and its configurations were checked.
    monkeypatch.setattr("prism_pl.commands.study.only_process", lambda *_: (_ for _ in ()).throw(UserError("checked")))
    code, _, errors = captured(capsys, "study", "--config", config)
    assert (code, "checked" in errors) == (2, True), errors
