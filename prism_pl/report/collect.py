"""The files of a run as small records. What is missing is named, never filled in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prism_pl.errors import UserError
from prism_pl.runs.files import FINISHED_MARK, read_lines
from prism_pl.segments import Sections, parse_response

ANSWERING = ("sft", "align", "rlvr")
"""The stages whose policy answers the held-out prompts."""
STAGES = ("sft", "warmup", "align", "rlvr")
TITLES = {"teacher": "teacher", "sft": "SFT", "warmup": "warm-up", "align": "aligned", "rlvr": "RLVR"}
"""Of the policies."""
PHASES = {**TITLES, "align": "alignment"}
"""Of the stages themselves."""


@dataclass(frozen=True)
class Answered:
    """One held-out prompt and a policy's two responses to it."""

    source: str
    """``file:row``, the same in all stages."""
    question: str
    image_root: str
    image: str | None
    answer: str
    teacher: str | None
    greedy: str
    greedy_correct: bool
    sampled: str
    sampled_correct: bool
    tokens: int
    """Length of ``sampled``, end token included."""

    @cached_property
    def sections(self) -> Sections | None:
        """Of the sampled response."""
        return parse_response(self.sampled)

    @cached_property
    def teacher_sections(self) -> Sections | None:
        return parse_response(self.teacher or "")


@dataclass(frozen=True)
class Series:
    """A metric over steps."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)


@dataclass(frozen=True)
class Stage:
    """What one stage left behind."""

    name: str
    lines: tuple[dict[str, Any], ...]
    """Of ``metrics.jsonl``."""
    heldout: tuple[Answered, ...]
    updates: int | None
    """None if the stage is not finished."""
    commit: str | None

    def series(self, key: str) -> Series:
        """Each step's last value: at the end of a stage the large evaluation follows a small one of the same step."""
        found = {line["step"]: line[key] for line in self.lines if key in line}
        return Series(tuple(sorted(found)), tuple(found[step] for step in sorted(found)))

    def keys(self, prefix: str) -> list[str]:
        """The metrics whose names start with ``prefix``, in the order of their first appearance."""
        return list(dict.fromkeys(key for line in self.lines for key in line if key.startswith(prefix)))


@dataclass(frozen=True)
class Run:
    """A run's stages, as far as they exist, and sentences about what does not."""

    folder: Path
    stages: dict[str, Stage]
    missing: tuple[str, ...]

    @property
    def answering(self) -> list[Stage]:
        """The stages with held-out responses, in order."""
        return [self.stages[name] for name in ANSWERING if name in self.stages and self.stages[name].heldout]

    @cached_property
    def teacher(self) -> tuple[Answered, ...]:
        """One record a prompt over all stages, for what depends on the prompt and its teacher alone."""
        return tuple({record.source: record for stage in self.answering for record in stage.heldout}.values())

    def series(self, stage: str, key: str) -> Series:
        """Empty if the stage or the metric is missing."""
        return self.stages[stage].series(key) if stage in self.stages else Series((), ())


def collect(folder: Path) -> Run:
    """Raises UserError if no stage is there at all."""
    missing: list[str] = []
    stages = {}
    for name in STAGES:
        if (folder / name).is_dir():
            stages[name] = _stage(folder / name, missing)
        else:
            missing.append(f"Stage {name} is missing: there is no folder {folder / name}.")
    if not stages:
        raise UserError(
            f"{folder} holds no stage of a run (none of {', '.join(STAGES)}), so there is nothing to report. "
            f"Make a run with `python -m prism_pl pipeline --config demo.yaml --run_dir {folder}`."
        )
    return Run(folder, stages, tuple(missing))


def _stage(folder: Path, missing: list[str]) -> Stage:
    lines = read_lines(folder / "metrics.jsonl")
    if not lines:
        missing.append(f"Stage {folder.name}: no metrics, {folder / 'metrics.jsonl'} is missing or empty.")
    heldout = _heldout(read_lines(folder / "heldout.jsonl"))
    if not heldout and folder.name in ANSWERING:
        missing.append(f"Stage {folder.name}: no held-out responses, {folder / 'heldout.jsonl'} is missing or empty.")
    mark: dict[str, Any] = {}
    if (folder / FINISHED_MARK).exists():
        mark = json.loads((folder / FINISHED_MARK).read_text(encoding="utf-8"))
    else:
        missing.append(f"Stage {folder.name} is not finished: there is no {folder / FINISHED_MARK}.")
    return Stage(folder.name, tuple(lines), heldout, mark.get("updates"), mark.get("commit"))


def _heldout(lines: Sequence[dict[str, Any]]) -> tuple[Answered, ...]:
    return tuple(
        Answered(
            source=line["source"],
            question=line["question"],
            image_root=line["image_root"],
            image=line["image"],
            answer=line["answer"],
            teacher=line["teacher"],
            greedy=line["greedy"],
            greedy_correct=line["greedy_correct"] > 0,
            sampled=line["sampled"],
            sampled_correct=line["sampled_correct"] > 0,
            tokens=line["tokens"],
        )
        for line in lines
    )
