"""A folder in which the commands of the pages run as they stand, in minutes: small configurations of the shipped names, and
few of the embedded task's rows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset

from prism_pl.embedded import embedded_folder
from tests.command_line import own_environment
from tests.docs.pages import ROOT

Content = dict[str, Any]
ROWS = {"sft": 64, "align": 256, "rlvr": 48, "heldout": 32, "test": 128}
"""Of the embedded task's files."""
_ENGINE = {"class_path": "TransformersEngine"}
_SMALL: dict[str, Content] = {
    # The teacher's responses, until the format is kept: without a well-formed response there is no game.
    "base": {
        "trainer.max_steps": 120, "data.init_args.batch_size": 16,
        "data.init_args.path": "embedded/digits/align.jsonl", "data.init_args.response": "teacher",
    },
    "sft": {"trainer.max_steps": 2, "data.init_args.batch_size": 4},
    "warmup": {
        "trainer.max_steps": 4, "trainer.val_check_interval": 4, "model.init_args.in_batch_first": 2,
        "data.init_args.batch_size": 8, "data.init_args.num_heldout": 16,
    },
    "align": {"trainer.max_steps": 2, "data.init_args.batch_size": 4},
    "rlvr": {"trainer.max_steps": 2, "data.init_args.batch_size": 4},
    "filter": {"engine": _ENGINE, "sampling.group_size": 2, "low": 0.0, "high": 1.0},
    "pairs": {},
    "measure": {"num_samples": 2},
    "eval": {"num_samples": 1},
}  # fmt: skip
_CALLBACKS: dict[str, Content] = {
    "RolloutCallback": {"engine": _ENGINE, "sampling.group_size": 4},
    "EvaluationCallback": {"every": 2, "num_prompts": 8, "num_final": 16},
    # A discriminator that has learnt for two steps says nothing that should end a stage.
    "ConvergenceProbe": {"every": 2, "num_prompts": 16, "training": {"steps": 2}, "stop_below": None},
}
_OUTPUT = 3000
"""Characters of a failed command's output that are shown."""


def write_rows(folder: Path) -> None:
    """The embedded task's first rows, and ``mine.parquet``, a file of a user's own."""
    source = embedded_folder(ROOT / "runs" / "embedded").resolve()
    target = folder / "runs" / "embedded" / source.name
    shutil.copytree(source / "model", target / "model")
    for name, count in ROWS.items():
        rows = [json.loads(line) for line in (source / f"{name}.jsonl").read_text().splitlines()[:count]]
        (target / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        for image in (image for row in rows for image in row["images"]):
            (target / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / image, target / image)
    own = [json.loads(line) for line in (target / "rlvr.jsonl").read_text().splitlines()[:16]]
    for row in own:
        row["images"] = [(target / image).read_bytes() for image in row["images"]]
    Dataset.from_list(own).to_parquet(folder / "mine.parquet")


def write_configurations(folder: Path) -> None:
    """Each under its shipped name: the program finds those of the current folder first."""
    for name, changes in _SMALL.items():
        _write(folder, name, _smaller(_shipped(name), changes))
    demo = _shipped("demo") | {"jobs": 1, "threads": None}
    for stage in demo["stages"]:
        stage.pop("options", None)
    _write(folder, "demo", demo)
    claim = _shipped("claim") | {"jobs": 1, "threads": None, "seeds": [0, 1], "reference": "base"}
    claim["stages"] = [stage for stage in claim["stages"] if stage["name"] in ("base", "sft")]
    claim["arms"] = [arm for arm in claim["arms"] if arm["name"] in ("base", "SFT")]
    # One base serves both seeds.
    _write(folder, "claim", claim | {"shared": ["base"]})


def execute(folder: Path, words: list[str], expected: int = 0) -> None:
    """Runs a command in the folder and waits; fails with the end of its output unless it exits as expected."""
    words = [sys.executable if word == "python" else word for word in words]
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == expected, f"{done.stdout[-_OUTPUT:]}\n{done.stderr[-_OUTPUT:]}"


def environment() -> dict[str, str]:
    """The checkout's program, from any folder, and no download."""
    return own_environment() | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def _shipped(name: str) -> Content:
    return yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())


def _write(folder: Path, name: str, content: Content) -> None:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def _smaller(content: Content, changes: Content) -> Content:
    for key, value in changes.items():
        _set(content, key, value)
    trainer = content.get("trainer", {})
    if trainer:
        trainer["logger"] = False
    for callback in trainer.get("callbacks", []):
        for key, value in _CALLBACKS.get(callback["class_path"], {}).items():
            _set(callback["init_args"], key, value)
    return content


def _set(content: Content, key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        content = content[group]
    content[last] = value
