"""The measured files of a study as records. A run that is missing is left out here and named by the table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prism_pl.drift import Ranged
from prism_pl.errors import UserError
from prism_pl.metrics.bootstrap import Array, stacked
from prism_pl.runs.files import FINISHED_MARK, read_lines
from prism_pl.study.answers import read_answers
from prism_pl.study.figures import OF_PROMPTS, of_prompt

RESPONSES_FILE = "measured.jsonl"
FIGURES_FILE = "measured.json"
SETTINGS_FILE = "measure.json"
_OF_RUN = {"policy", "seed"}
"""Settings of a measurement that differ between the runs of a study."""


@dataclass(frozen=True)
class Measured:
    """One arm in one seed."""

    folder: Path
    prompts: tuple[str, ...]
    of_prompts: dict[str, tuple[float, ...]]
    """Each of ``OF_PROMPTS``, a value a prompt."""
    figures: dict[str, float]
    """Means of these, and the distances that could be measured."""
    updates: int
    """Of all stages that the model went through."""
    seconds: float
    """Of these stages' steps."""
    floors: dict[str, Ranged]
    """Of the distances that were measured beside one."""


@dataclass(frozen=True)
class ArmResult:
    """An arm over the seeds that have it."""

    name: str
    stage: str
    against: str | None
    """The arm that it is compared with; None for the one that has none."""
    runs: dict[int, Measured]

    def values(self, figure: str, seeds: Sequence[int]) -> Array:
        """(S, P), or (S, 1) for a figure of the policy as a whole."""
        if figure in OF_PROMPTS:
            return stacked([self.runs[seed].of_prompts[figure] for seed in seeds])
        return stacked([[self.runs[seed].figures[figure]] for seed in seeds])

    def seeds_with(self, figure: str) -> list[int]:
        """The seeds in which the figure could be measured."""
        return [seed for seed, run in self.runs.items() if figure in run.figures]

    @cached_property
    def cost(self) -> tuple[float, float]:
        """Mean updates and seconds over the seeds."""
        runs = self.runs.values()
        return sum(run.updates for run in runs) / len(runs), sum(run.seconds for run in runs) / len(runs)


def read_measured(folder: Path, trained: Sequence[Path]) -> Measured | None:
    """None if the measurement is not finished. ``trained``: folders of all stages that the model went through."""
    if not (folder / FINISHED_MARK).exists():
        return None
    records = read_answers(folder / RESPONSES_FILE)
    values = [of_prompt(record) for record in records]
    read = json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8"))
    return Measured(
        folder=folder,
        prompts=tuple(record.source for record in records),
        of_prompts={name: tuple(own[name] for own in values) for name in OF_PROMPTS},
        figures=read["figures"],
        updates=sum(_updates(stage) for stage in trained),
        seconds=sum(step_seconds(stage) for stage in trained),
        floors={name: Ranged(**own["floor"]) for name, own in read.get("drift", {}).items()},
    )


def step_seconds(stage: Path) -> float:
    """Wall-clock seconds of all steps of a stage: its ``seconds/*`` metrics. Start and evaluation are not among them."""
    lines = read_lines(stage / "metrics.jsonl")
    return sum(value for line in lines for key, value in line.items() if key.startswith("seconds/"))


def check_alike(results: Sequence[ArmResult]) -> None:
    """Raises UserError if two runs were measured on other prompts or in another way: no figure could be compared."""
    runs = [run for result in results for run in result.runs.values()]
    for run in runs[1:]:
        first, own = _settings(runs[0]), _settings(run)
        changed = [key for key in own if own[key] != first.get(key)]
        if changed or run.prompts != runs[0].prompts:
            difference = f"{changed[0]} {own[changed[0]]!r}, not {first.get(changed[0])!r}" if changed else "other prompts"
            raise UserError(
                f"measure: {run.folder} was measured with {difference} as in {runs[0].folder}. "
                f"Remove the one that is out of date; the same command measures it anew."
            )


def _settings(run: Measured) -> dict[str, object]:
    read = json.loads((run.folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    return {key: value for key, value in read.items() if key not in _OF_RUN}


def _updates(stage: Path) -> int:
    mark = stage / FINISHED_MARK
    return json.loads(mark.read_text(encoding="utf-8")).get("updates") or 0 if mark.exists() else 0
