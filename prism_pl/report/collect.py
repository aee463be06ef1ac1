"""The files of a run as small records. What is missing is named, never filled in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prism_pl.errors import UserError
from prism_pl.report.stages import TEACHER_COLOUR, StageInfo, ancestors, find_stages
from prism_pl.runs.files import FINISHED_MARK, read_lines
from prism_pl.segments import Sections, parse_response


@dataclass(frozen=True)
class Answered:
    """One held-out prompt and a policy's two responses to it."""

    source: str
    """``file:row``, the same in all stages."""
    question: str
    data_source: dict[str, Any]
    """How its data file was read: keys of a data source beside ``path``."""
    image: str | None
    answer: str
    options: tuple[str, ...]
    """Of a multiple-choice question."""
    teacher: str | None
    greedy: str
    greedy_correct: bool
    sampled: str
    sampled_correct: bool
    tokens: int
    """Length of ``sampled``, end token included."""

    @property
    def prompt(self) -> tuple[str, str, str]:
        """What is equal where two records are about one prompt: the row of another data file may be another one."""
        return self.source, self.question, self.answer

    @cached_property
    def sections(self) -> Sections | None:
        """Of the sampled response."""
        return parse_response(self.sampled)

    @cached_property
    def greedy_sections(self) -> Sections | None:
        return parse_response(self.greedy)

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
class Stage(StageInfo):
    """What one stage left behind."""

    lines: tuple[dict[str, Any], ...]
    """Of ``metrics.jsonl``."""
    heldout: tuple[Answered, ...]
    updates: int | None
    """None if the stage is not finished."""
    commit: str | None
    versions: dict[str, str]
    """By package; empty if the stage is not finished, or its program recorded none yet."""
    config: str
    """The text of ``config.yaml``."""

    def series(self, key: str) -> Series:
        """Each step's last value: at the end of a stage the large evaluation follows a small one of the same step."""
        found = {line["step"]: line[key] for line in self.lines if key in line}
        return Series(tuple(sorted(found)), tuple(found[step] for step in sorted(found)))

    def interval(self, key: str) -> tuple[Series, Series] | None:
        """The 95% interval's ends of a metric that was logged with it; None for one that was not."""
        low, high, half = (self.series(f"{key}_{end}") for end in ("low", "high", "half_width"))
        if low and high:
            return low, high
        values = dict(zip(*vars(self.series(key)).values(), strict=True))
        if not half or not set(half.steps) <= set(values):
            return None
        ends = [
            tuple(values[step] + sign * width for step, width in zip(half.steps, half.values, strict=True))
            for sign in (-1, 1)
        ]
        return Series(half.steps, ends[0]), Series(half.steps, ends[1])

    def keys(self, prefix: str) -> list[str]:
        """The metrics whose names start with ``prefix``, in the order of their first appearance."""
        return list(dict.fromkeys(key for line in self.lines for key in line if key.startswith(prefix)))


@dataclass(frozen=True)
class Run:
    """A run's stages, as far as they exist, and sentences about what does not."""

    folder: Path
    stages: dict[str, Stage]
    """In order."""
    missing: tuple[str, ...]

    def of_kind(self, kind: str) -> list[Stage]:
        """The stages of one of ``KINDS``, in order."""
        return [stage for stage in self.stages.values() if stage.kind == kind]

    def first(self, kind: str) -> Stage | None:
        """The one that the page shows of several: the first in the graph's order."""
        return next(iter(self.of_kind(kind)), None)

    @property
    def answering(self) -> list[Stage]:
        """The stages with held-out responses, in order."""
        return [stage for stage in self.stages.values() if stage.heldout]

    @cached_property
    def teacher(self) -> tuple[Answered, ...]:
        """One record a prompt over all stages, for what depends on the prompt and its teacher alone."""
        return tuple({record.source: record for stage in self.answering for record in stage.heldout}.values())

    def line(self, stage: Stage) -> list[Stage]:
        """A stage and those that its policy went through before, the nearest first."""
        policies = {name: own.policy for name, own in self.stages.items()}
        return [stage, *(self.stages[name] for name in ancestors(stage.name, policies) if name in self.stages)]

    @cached_property
    def ends(self) -> list[Stage]:
        """Where the lines of RLVR end: the first without alignment, then the first after it; one if there is no other."""
        continued = {stage.policy for stage in self.of_kind("rlvr")}
        last = [stage for stage in self.of_kind("rlvr") if stage.name not in continued]
        aligned = [any(before.kind == "align" for before in self.line(stage)) for stage in last]
        return [last[aligned.index(wanted)] for wanted in (False, True) if wanted in aligned]

    @cached_property
    def shown(self) -> list[Stage]:
        """The stages on the way to ``ends``, in order, which the charts show; all where there is no RLVR."""
        names = {stage.name for end in self.ends for stage in self.line(end)} or set(self.stages)
        return [stage for stage in self.stages.values() if stage.name in names]

    @property
    def drawn(self) -> list[Stage]:
        """Those of them with held-out responses."""
        return [stage for stage in self.shown if stage.heldout]

    def title(self, name: str) -> str:
        """Of a stage's model, or of the teacher."""
        return self.stages[name].title if name in self.stages else name

    def colour(self, name: str) -> str:
        """Of a stage's model, or of the teacher."""
        return self.stages[name].colour if name in self.stages else TEACHER_COLOUR


def collect(folder: Path) -> Run:
    """Raises UserError if no stage is there at all."""
    missing: list[str] = []
    stages = {info.name: _stage(folder / info.name, info, missing) for info in find_stages(folder, missing)}
    if not stages:
        raise UserError(
            f"{folder} holds no stage of a run (no folder with the config.yaml of a `fit`), so there is nothing to report. "
            f"Make a run with `python -m prism_pl pipeline --config demo.yaml --run_dir {folder}`."
        )
    return Run(folder, stages, tuple(missing))


def _stage(folder: Path, info: StageInfo, missing: list[str]) -> Stage:
    lines = read_lines(folder / "metrics.jsonl")
    if not lines:
        missing.append(f"Stage {info.name}: no metrics, {folder / 'metrics.jsonl'} is missing or empty.")
    heldout = _heldout(read_lines(folder / "heldout.jsonl"))
    if not heldout and info.kind != "warmup":
        missing.append(f"Stage {info.name}: no held-out responses, {folder / 'heldout.jsonl'} is missing or empty.")
    mark: dict[str, Any] = {}
    if (folder / FINISHED_MARK).exists():
        mark = json.loads((folder / FINISHED_MARK).read_text(encoding="utf-8"))
    else:
        missing.append(f"Stage {info.name} is not finished: there is no {folder / FINISHED_MARK}.")
    return Stage(
        **vars(info),
        lines=tuple(lines),
        heldout=heldout,
        updates=mark.get("updates"),
        commit=mark.get("commit"),
        versions=mark.get("versions") or {},
        config=(folder / "config.yaml").read_text(encoding="utf-8"),
    )


def _heldout(lines: Sequence[dict[str, Any]]) -> tuple[Answered, ...]:
    return tuple(
        Answered(
            source=line["source"],
            question=line["question"],
            data_source=line["data_source"],
            image=line["image"],
            answer=line["answer"],
            options=tuple(line.get("options") or ()),  # runs of before recorded none
            teacher=line["teacher"],
            greedy=line["greedy"],
            greedy_correct=line["greedy_correct"] > 0,
            sampled=line["sampled"],
            sampled_correct=line["sampled_correct"] > 0,
            tokens=line["tokens"],
        )
        for line in lines
    )
