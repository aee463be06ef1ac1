"""``study``: a grid of stages over several seeds, every arm measured on held-out prompts, and the table that compares them.

A stage or a measurement that is finished is skipped, one cut short resumes: the same command goes on after any kill.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from prism_pl.command_line.catalogue import find_command
from prism_pl.command_line.configurations import with_config_folder
from prism_pl.command_line.front import parse
from prism_pl.commands.pipeline import Stage, check_stages, record_stages, run_stage
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.runs.files import only_process, write_atomically
from prism_pl.runs.jobs import Job, Outcome, run_jobs
from prism_pl.runs.processes import LOG, LoggedPrograms, SoleWorker
from prism_pl.study.collect import ArmResult, Measured, check_alike, read_measured
from prism_pl.study.plan import MEASURED, SHARED, Arm, Plan

_SHARED_SEED = 0


@dataclass(frozen=True)
class Measure:
    """How every arm's model is measured."""

    config: str = "measure.yaml"
    """Configuration of the command ``measure``."""
    options: dict[str, str | bool | int | float] | None = None
    """Further overrides, key to value."""


def study(
    run_dir: str,
    stages: list[Stage],
    arms: list[Arm],
    reference: str,
    seeds: list[NonNegativeInt],
    shared: list[str] | None = None,
    measure: Measure = Measure(),
    jobs: PositiveInt = 1,
    threads: PositiveInt | None = None,
) -> None:
    """Runs a graph of stages for every seed, measures the arms, and writes ``study.md``, ``study.csv`` and ``study.svg``.

    A stage that fails stops only what is made from it. The same command goes on where a run stopped.

    Args:
        run_dir: folder of everything; the stages of seed k are in ``seed<k>/``, which ``report`` can read.
        stages: the graph of stages, as in a pipeline.
        arms: what is measured, in the order of the table.
        reference: name of the arm that the others are compared with.
        seeds: every stage is run once for each of them.
        shared: names of stages that do not depend on the seed; they run once, in ``shared/``.
        measure: how every arm's model is measured.
        jobs: stages and measurements at most that run side by side.
        threads: CPU threads of each; null leaves the environment's. With several jobs give the cores over the jobs.
    """
    plan = Plan(Path(run_dir), stages, seeds, shared or [], arms, reference)
    _check_configurations(stages, arms, measure)
    with only_process(plan.run_dir, "run_dir"):
        plan.link_shared()
        for seed in seeds:
            record_stages(plan.run_dir / f"seed{seed}", stages)
        outcome = _run(plan, stages, measure, jobs, threads)
        results = _results(plan)
        _write(plan.run_dir, results, _missing(plan, outcome))
    if outcome.failed:
        logs = "\n".join(f"  {name}: {plan.run_dir / name / LOG}" for name in outcome.failed)
        waiting = f"\nNot run, as they need one of these: {', '.join(outcome.not_run)}." if outcome.not_run else ""
        print(f"\nFailed, with what each one said:\n{logs}{waiting}\nThe same command goes on from here.", flush=True)
        raise SystemExit(1)


def _check_configurations(stages: Sequence[Stage], arms: Sequence[Arm], measure: Measure) -> None:
    """Before hours of training: files that are not there, arms without a model, keys that ``measure`` has not."""
    check_stages(stages)
    commands = {stage.name: stage.command for stage in stages}
    for arm in arms:
        if commands[arm.stage] != "fit":
            raise UserError(f"arms: {arm.name}: the stage {arm.stage} is a {commands[arm.stage]} and has no model.")
    options = [text for key, value in (measure.options or {}).items() for text in (f"--{key}", str(value))]
    own = ["--policy", "a", "--out", "b", "--seed", "0"]
    parse(find_command("measure"), with_config_folder(["--config", measure.config, *options, *own]))


def _run(plan: Plan, stages: Sequence[Stage], measure: Measure, jobs: int, threads: int | None) -> Outcome:
    with ended_by_signals(LoggedPrograms()) as programs:
        tasks = list(_jobs(plan, stages, measure, threads, programs))
        return run_jobs(tasks, jobs, go_on=True)


def _jobs(
    plan: Plan, stages: Sequence[Stage], measure: Measure, threads: int | None, programs: LoggedPrograms
) -> Iterator[Job]:
    """Shared ones first, then seed by seed: so the first seeds are whole early."""
    for seed in (None, *plan.seeds):
        scope, number = (SHARED, _SHARED_SEED) if seed is None else (f"seed{seed}", seed)
        own = [stage for stage in stages if (stage.name in plan.shared) == (seed is None)]
        names = {stage.name for stage in own}
        to_measure = [name for name in dict.fromkeys(arm.stage for arm in plan.arms) if name in names]
        measuring = [
            Stage(f"{MEASURED}/{name}", measure.config, {"policy": name}, measure.options or {}, "measure")
            for name in to_measure
        ]
        for stage in (*own, *measuring):
            needs = frozenset(f"{plan.scope(source, number)}/{source}" for source in stage.inputs.values())
            run = partial(_run_alone, plan.run_dir / scope, stage, number, threads, programs)
            yield Job(f"{scope}/{stage.name}", run, needs)


def _run_alone(run_dir: Path, stage: Stage, seed: int, threads: int | None, programs: LoggedPrograms) -> bool:
    with SoleWorker(run_dir / stage.name, programs) as worker:
        if not worker.entered:
            return False

        def launch(folder: Path, command: list[str], environment: dict[str, str]) -> bool:
            done = programs.run(command, folder / LOG, environment, (worker.descriptor,))
            print(f"{folder}: {'done' if done else f'failed, see {folder / LOG}'}\n", end="", flush=True)
            return done

        return run_stage(run_dir, stage, seed, threads, launch)


@contextmanager
def ended_by_signals(programs: LoggedPrograms) -> Iterator[LoggedPrograms]:
    """In the block SIGINT and SIGTERM end the programs before this process."""

    def end(number: int, _: FrameType | None) -> None:
        programs.end()
        raise SystemExit(128 + number)

    before: dict[int, Any] = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield programs
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _results(plan: Plan) -> list[ArmResult]:
    found: dict[Path, Measured | None] = {}
    results = []
    for arm in plan.arms:
        runs: dict[int, Measured] = {}
        for seed in plan.seeds:
            folder = plan.measured(arm.stage, seed)
            if folder not in found:
                trained = [plan.folder(name, seed) for name in plan.lineage(arm.stage)]
                found[folder] = read_measured(folder, trained)
            if (run := found[folder]) is not None:
                runs[seed] = run
        results.append(ArmResult(arm.name, arm.stage, plan.against(arm), runs))
    check_alike(results)
    return results


def _missing(plan: Plan, outcome: Outcome) -> list[str]:
    absent = {*outcome.failed, *outcome.not_run}
    return [
        f"{arm.name}, seed {seed}: {'failed' if name in outcome.failed else 'not run'}."
        for arm in plan.arms
        for seed in plan.seeds
        if (name := f"{plan.scope(arm.stage, seed)}/{MEASURED}/{arm.stage}") in absent
    ]


def _write(run_dir: Path, results: list[ArmResult], missing: list[str]) -> None:
    # Here, so that the stages do not wait for the drawing library.
    from prism_pl.study.figure import svg
    from prism_pl.study.table import csv_rows, markdown

    text = markdown(results, missing)
    write_atomically(run_dir / "study.md", text)
    write_atomically(run_dir / "study.csv", csv_rows(results))
    if any(result.runs for result in results):
        write_atomically(run_dir / "study.svg", svg(results))
    print(f"\n{text}\n{run_dir / 'study.md'}, study.csv, study.svg", flush=True)
