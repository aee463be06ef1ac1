"""Seconds an update with the engine one batch ahead, against an engine that waits for the trainer and is waited for.

    make demo; python -m benchmarks.overlap
    python -m benchmarks.overlap --model embedded/digits --updates 3 --prompts 2 --rounds 1     # whether it runs

The demo's alignment and RLVR with TransformersEngine, without evaluation. In turn: one process with one thread, which
computes either; the same with two threads. Ahead: trainer and engine a process each with one thread, ``overlap: 1``. The
learning rate is 0, so that all sides keep doing the same work; RLVR's reward is one that differs within any group, whatever
the model, so that all groups are learnt from. An update lasts from the end of the one before to its own end; printed are
medians over all rounds, in which the sides take turns, without the first two updates of each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.whole_stages import EVEN_LENGTH, SFT_MODEL, WARM_UP

_ENGINE: dict[str, Any] = {"class_path": "TransformersEngine", "init_args": {"device": "cpu"}}
SIDES: dict[str, tuple[int, dict[str, Any]]] = {
    # name: threads of the trainer, options of the rollouts
    "in turn, one thread": (1, {"engine": _ENGINE}),
    "in turn, two threads": (2, {"engine": _ENGINE}),
    "ahead, one thread each": (
        1,
        {"engine": {"class_path": "ProcessEngine", "init_args": {"engine": _ENGINE, "threads": 1}}, "overlap": 1},
    ),
}


def config(stage: str, model: str, prompts: int | None, rollout: dict[str, Any], folder: Path) -> Path:
    """The repository's configuration of the stage with its rollouts alone."""
    content = yaml.safe_load((Path("configs") / f"{stage}.yaml").read_text())
    own = next(c for c in content["trainer"]["callbacks"] if c["class_path"] == "RolloutCallback")
    own["init_args"] |= rollout
    clock = {"class_path": "benchmarks.whole_stages.StepClock", "init_args": {"file": str(folder / "times.json")}}
    # First the rollouts, so that the clock's update ends after the engine has been given the new weights.
    content["trainer"] |= {"callbacks": [own, clock], "logger": False, "enable_progress_bar": False, "accelerator": "cpu"}
    options = content["model"]["init_args"]
    options["policy"] = {"path": model}
    for name in ("optimizer", "discriminator_optimizer"):
        if name in options:
            options[name]["init_args"]["lr"] = 0.0
    if "discriminator" in options:
        # Built from the policy.
        del options["discriminator"]["init_args"]["path"]
    if "rewards" in options:
        options["rewards"] = [EVEN_LENGTH]
    # One update a batch, as the clock counts batches.
    options["reuse"] = {}
    if prompts is not None:
        content["data"]["init_args"]["batch_size"] = prompts
    (folder / "stage.yaml").write_text(yaml.safe_dump(content))
    return folder / "stage.yaml"


def seconds(stage: str, side: str, options: argparse.Namespace) -> list[float]:
    """Of each update but the first ones."""
    threads, rollout = SIDES[side]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = config(stage, options.model, options.prompts, rollout, folder)
        command = [
            sys.executable, "-m", "prism_pl", "fit", "--config", str(file), "--run_dir", str(folder / "run"),
            "--trainer.max_steps", str(WARM_UP + options.updates),
        ]  # fmt: skip
        run = subprocess.run(
            command, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise RuntimeError(run.stderr[-2000:])
        times = json.loads((folder / "times.json").read_text())
    return [after - before for before, after in zip(times[WARM_UP - 1 :], times[WARM_UP:], strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(SFT_MODEL))
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--prompts", type=int, help="Of a batch; the configuration's by default.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stages", nargs="+", default=["align", "rlvr"], choices=["align", "rlvr"])
    options = parser.parse_args()
    if options.model == str(SFT_MODEL) and not SFT_MODEL.is_dir():
        raise SystemExit(f"{SFT_MODEL} is missing: run `make demo` first.")
    print(f"| stage, seconds an update | {' | '.join(SIDES)} | one thread in turn / ahead | two threads in turn / ahead |")
    print(f"| --- |{' --- |' * (len(SIDES) + 2)}")
    for stage in options.stages:
        found: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(options.rounds):
            for side in SIDES:
                found[side] += seconds(stage, side, options)
        one, two, ahead = (statistics.median(found[side]) for side in SIDES)
        print(f"| {stage} | {one:.2f} | {two:.2f} | {ahead:.2f} | {one / ahead:.2f} | {two / ahead:.2f} |", flush=True)


if __name__ == "__main__":
    main()
