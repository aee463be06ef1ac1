"""Runs stages, each as soon as those it reads are done, and hands over their models and kept prompts.

A stage is done when its ``finished.json`` is there and it was made from the present outputs of the stages it reads; then it
is skipped. A stage cut short resumes; one whose inputs have changed is set aside and run anew.
"""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from prism_pl.command_line.configurations import with_config_folder
from prism_pl.commands.report import report
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.runs.files import FINISHED_MARK, set_aside, stage_identity
from prism_pl.runs.graph import RecordedStage, check_graph, write_graph
from prism_pl.runs.handover import handed_over
from prism_pl.runs.jobs import Job, run_jobs
from prism_pl.runs.tracking import GROUP, group_of

_INPUTS = "inputs.json"
_PROGRESS_SECONDS = 10.0
"""Between two lines of a stage's progress bar, where several stages share the terminal."""


@dataclass(frozen=True)
class Stage:
    """One ``fit``, or another command that makes something for later stages."""

    name: str
    """Its folder under the run's."""
    config: str
    """Configuration file, in the current folder or in ``configs/``."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Configuration key to the stage that it takes: a ``fit``'s model, or the prompts that a ``filter`` kept."""
    options: dict[str, str | bool | int | float] = field(default_factory=dict)
    """Further overrides, key to value."""
    command: Literal["fit", "filter", "measure"] = "fit"
    """What is run; commands other than ``fit`` write to ``out`` and take their seed as ``seed``."""
    title: str | None = None
    """What the report calls its model; null names it by the kind of the stage, and RLVR by whether it follows alignment."""


def pipeline(
    run_dir: str,
    stages: list[Stage],
    seed: NonNegativeInt = 0,
    jobs: PositiveInt = 1,
    threads: PositiveInt | None = None,
) -> None:
    """Runs stages, each from the models of those it reads, and writes the report.

    A finished stage is skipped, one cut short resumes.

    Args:
        run_dir: folder of all stages.
        stages: the stages in order, in the configuration.
        seed: of every stage.
        jobs: stages at most that run side by side; one starts as soon as those it reads are done.
        threads: CPU threads of each stage; null leaves the environment's. With several jobs give the cores over the jobs.
    """
    run_pipeline(Path(run_dir), stages, seed, jobs, threads)
    if threads is not None:
        # Here, so that the stages do not wait for it. The report scores responses, and where another process is busy as
        # many threads as cores make that ten times slower.
        import torch

        torch.set_num_threads(threads)
    report([run_dir])


def run_pipeline(run_dir: Path, stages: list[Stage], seed: int, jobs: int = 1, threads: int | None = None) -> None:
    """Raises UserError with the command to continue if a stage fails; nothing starts then, and what runs is let finish."""
    check_stages(stages)
    record_stages(run_dir, stages)
    launch = partial(_shown, beside_others=jobs > 1)
    outcome = run_jobs(
        [
            Job(stage.name, partial(run_stage, run_dir, stage, seed, threads, launch), frozenset(stage.inputs.values()))
            for stage in stages
        ],
        jobs,
        go_on=False,
    )
    if outcome.failed:
        raise UserError(
            f"Stage {' and '.join(outcome.failed)} failed; its own message is above. The same command continues from here."
        )


def check_stages(stages: Sequence[Stage]) -> None:
    """Raises UserError for a graph that cannot be run, or a configuration that is not there, before anything is started."""
    check_graph(stages)
    commands = {stage.name: stage.command for stage in stages}
    for stage in stages:
        with_config_folder(["--config", stage.config])
        for key, source in stage.inputs.items():
            if commands[source] == "measure":
                raise UserError(f"stages: {stage.name}: inputs.{key}: {source} is a measure, which makes nothing to take.")


def record_stages(run_dir: Path, stages: Sequence[Stage]) -> None:
    """Tells the report which stages a run's folder has, in which order, and what each is made from."""
    write_graph(run_dir, [RecordedStage(stage.name, stage.command, stage.inputs, stage.title) for stage in stages])


Launch = Callable[[Path, list[str], dict[str, str]], bool]
"""Runs a stage's command, given its folder and further environment variables, and says whether it ended well."""


def run_stage(run_dir: Path, stage: Stage, seed: int, threads: int | None, launch: Launch) -> bool:
    """Whether the stage is done; skips, resumes or sets aside first."""
    folder = run_dir / stage.name
    made_from = {source: stage_identity(run_dir / source) for source in sorted(set(stage.inputs.values()))}
    made_from["seed"] = str(seed)
    if folder.exists() and _recorded(folder) != made_from:
        _say(f"{stage.name}: made from other inputs, kept as {set_aside(folder)}")
    if (folder / FINISHED_MARK).exists():
        _say(f"{stage.name}: finished, skipped ({folder})")
        return True
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _INPUTS).write_text(json.dumps(made_from), encoding="utf-8")
    _say(f"{stage.name}: {stage.config} -> {folder}")
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    # W&B shows the stages of a run together.
    environment[GROUP] = group_of(run_dir)
    return launch(folder, _command(run_dir, stage, seed), environment)


def _shown(folder: Path, command: list[str], environment: dict[str, str], beside_others: bool) -> bool:
    """Runs a command with its output on the terminal, behind the stage's name if others run beside it."""
    environment = os.environ | environment
    if not beside_others:
        return subprocess.run(command, env=environment, check=False).returncode == 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        _relay(folder.name, io.TextIOWrapper(process.stdout, encoding="utf-8", errors="replace", newline=""))
    return process.returncode == 0


def _say(line: str) -> None:
    # One write: of two threads that print, each keeps its line whole.
    print(f"{line}\n", end="", flush=True)


def _relay(name: str, output: io.TextIOBase) -> None:
    """Prints a stage's lines behind its name. Of a progress bar, which redraws itself, one line now and then."""
    shown = -_PROGRESS_SECONDS
    for line in output:
        text = line.strip()
        if line.endswith("\r"):
            if time.monotonic() - shown < _PROGRESS_SECONDS:
                continue
            shown = time.monotonic()
        if text:
            _say(f"{name}: {text}")


def _command(run_dir: Path, stage: Stage, seed: int) -> list[str]:
    folder, seed_key = ("run_dir", "seed_everything") if stage.command == "fit" else ("out", "seed")
    command = [sys.executable, "-m", "prism_pl", stage.command, "--config", stage.config]
    command += [f"--{folder}", str(run_dir / stage.name), f"--{seed_key}", str(seed)]
    # Options first: one that names a class makes the command line forget that class's other values.
    for key, value in stage.options.items():
        command += [f"--{key}", str(value)]
    for key, source in stage.inputs.items():
        command += [f"--{key}", handed_over(run_dir / source)]
    return command


def _recorded(folder: Path) -> dict[str, str | None] | None:
    file = folder / _INPUTS
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
