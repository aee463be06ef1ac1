"""Loggers of a run: W&B offline, whose id a resumed run keeps, and Lightning's own by their class_path."""

import csv
import json
import struct
import time
from pathlib import Path

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from callbacks import WandbLogger
from prism_pl.runs.files import read_lines
from prism_pl.runs.tracking import GROUP, log_page
from tests.command_line import finish, start
from tests.short_fit import SFT

_BLOCK, _HEADER = 32768, struct.Struct("<IHB")
_FULL, _LAST = 1, 4
_PATIENCE = 60.0


def records(run_dir: Path) -> list[Record]:
    """Everything that the offline runs of a folder would send, once each is written to its end: a finished run does not
    wait for that."""
    found = []
    for file in sorted(run_dir.glob("wandb/offline-run-*/*.wandb")):
        end = time.monotonic() + _PATIENCE
        while "exit" not in [record.WhichOneof("record_type") for record in _records(file)]:
            assert time.monotonic() < end, f"{file} has no end"
            time.sleep(0.1)
        found += _records(file)
    return found


def _records(file: Path) -> list[Record]:
    """LevelDB's log format behind seven bytes of wandb's own."""
    found = []
    content, place, whole = file.read_bytes(), 7, b""
    while place + _HEADER.size <= len(content):
        if (left := _BLOCK - place % _BLOCK) < _HEADER.size:
            place += left
            continue
        _, length, kind = _HEADER.unpack_from(content, place)
        place += _HEADER.size + length
        if place > len(content):
            break
        whole += content[place - length : place]
        if kind in (_FULL, _LAST):
            found.append(Record.FromString(whole))
            whole = b""
    return found


def logged(folder: Path, values: list[float]) -> str:
    # Lightning takes a run that is open in this process, and leaves its own open: another test's fit may have.
    wandb.finish()
    logger = WandbLogger(mode="offline", name="align", save_dir=str(folder), run_dir=str(folder))
    for step, value in enumerate(values):
        logger.log_metrics({"heldout/accuracy": value, "sft/loss": value}, step)
    identity: str = logger.experiment.id
    wandb.finish()
    return identity


def test_a_resumed_run_goes_on_with_its_wandb_run_and_a_new_folder_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GROUP, "runs/demo")
    first = logged(tmp_path / "a", [0.5])
    assert logged(tmp_path / "a", [0.7]) == first
    assert logged(tmp_path / "b", [0.5]) != first
    assert [(r.run.run_id, r.run.run_group) for r in records(tmp_path / "a") if r.HasField("run")] == [
        (first, "runs/demo")
    ] * 2


def test_the_summary_has_the_least_and_greatest_heldout_figures(tmp_path: Path) -> None:
    logged(tmp_path, [0.5, 0.9, 0.7])
    last: dict[str, object] = {}
    for record in records(tmp_path):
        for item in record.summary.update:
            last[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    assert last["heldout/accuracy"] == {"last": 0.7, "min": 0.5, "max": 0.9}
    assert last["sft/loss"] == 0.7


def test_the_report_is_an_artifact_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    page = tmp_path / "report.html"
    page.write_text("<p>page</p>")
    log_page(page, tmp_path, "prism_pl")
    artifacts = [r.request.log_artifact.artifact for r in records(tmp_path) if r.request.HasField("log_artifact")]
    artifacts += [r.artifact for r in records(tmp_path) if r.HasField("artifact")]
    assert [(a.name, a.type, [c.path for c in a.manifest.contents]) for a in artifacts] == [
        ("report", "report", ["report.html"])
    ]


FIT = (
    SFT
    + """\
trainer:
  max_steps: 2
  logger:
    - class_path: lightning.pytorch.loggers.CSVLogger
      init_args: {save_dir: ROOT/csv}
    - class_path: lightning.pytorch.loggers.TensorBoardLogger
      init_args: {save_dir: ROOT/tensorboard}
    - {class_path: callbacks.WandbLogger, init_args: {mode: offline, save_dir: ROOT/wandb}}
run_dir: ROOT/run
"""
)


def test_lightnings_loggers_get_what_the_metrics_file_has(tmp_path: Path, embedded: Path) -> None:
    (tmp_path / "fit.yaml").write_text(FIT.replace("ROOT", str(tmp_path)))
    finish(start("fit", "--config", str(tmp_path / "fit.yaml")))
    losses = [line["sft/loss"] for line in read_lines(tmp_path / "run" / "metrics.jsonl") if "sft/loss" in line]
    assert len(losses) == 2
    (table,) = (tmp_path / "csv").rglob("metrics.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [float(row["sft/loss"]) for row in rows if row["sft/loss"]] == losses
    (events,) = (tmp_path / "tensorboard").rglob("events.*")
    curve = EventAccumulator(str(events)).Reload().Scalars("sft/loss")
    # It keeps 32 bits.
    assert [point.value for point in curve] == pytest.approx(losses, rel=1e-6)
    assert [point.step for point in curve] == [1, 2]
    # The folder of a logger may be any; the id is in the run's.
    (sent,) = (tmp_path / "wandb" / "wandb").glob("offline-run-*")
    assert sent.name.rpartition("-")[2] == (tmp_path / "run" / "wandb_id.txt").read_text().strip()
