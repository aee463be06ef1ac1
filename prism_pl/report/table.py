"""One row a policy: how right, how well-formed, how long, how far from the teacher."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prism_pl.metrics.intervals import wilson
from prism_pl.report.collect import Answered, Run, Stage
from prism_pl.report.scores import Gap, StageGaps
from prism_pl.report.stages import TEACHER_COLOUR
from prism_pl.rewards import AnswerReward
from prism_pl.types import ASPECTS

NOTHING = "-"
"""Stands where there is no value."""


@dataclass(frozen=True)
class Share:
    """``hits`` out of ``count``, at least one."""

    hits: int
    count: int

    @property
    def value(self) -> float:
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval."""
        return wilson(self.hits, self.count)


@dataclass(frozen=True)
class Row:
    """A policy's figures, or the teacher's; None or an empty list where there is no value."""

    name: str
    title: str
    colour: str
    prompts: int
    accuracy: Share | None
    """Greedy; the teacher's one response."""
    sampled: Share | None
    format: Share | None
    tokens: float | None
    gaps: list[tuple[Gap, ...]]
    """One entry a discriminator, each in the order of ASPECTS, empty if not measured."""


def make_rows(run: Run, teacher_tokens: Sequence[int], gaps_by_scorer: Sequence[StageGaps]) -> list[Row]:
    """The teacher first, then the stages in order."""
    rows = [_stage_row(stage, gaps_by_scorer) for stage in run.answering]
    taught = [record for record in run.teacher if record.teacher]
    return [_teacher_row(taught, teacher_tokens, gaps_by_scorer), *rows] if taught else rows


def share(flags: Iterable[bool]) -> Share | None:
    """None of nothing."""
    values = list(flags)
    return Share(sum(values), len(values)) if values else None


def mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return sum(values) / len(values) if values else None


def _stage_row(stage: Stage, gaps_by_scorer: Sequence[StageGaps]) -> Row:
    return Row(
        name=stage.name,
        title=stage.title,
        colour=stage.colour,
        prompts=len(stage.heldout),
        accuracy=share(record.greedy_correct for record in stage.heldout),
        sampled=share(record.sampled_correct for record in stage.heldout),
        format=share(record.sections is not None for record in stage.heldout),
        tokens=mean([record.tokens for record in stage.heldout]),
        gaps=[scorer.gaps.get(stage.name, ()) for scorer in gaps_by_scorer],
    )


def _teacher_row(taught: Sequence[Answered], tokens: Sequence[int], gaps_by_scorer: Sequence[StageGaps]) -> Row:
    verify = AnswerReward()
    return Row(
        name="teacher",
        title="teacher",
        colour=TEACHER_COLOUR,
        prompts=len(taught),
        accuracy=share(verify(record.teacher or "", record.answer, record.options) > 0 for record in taught),
        sampled=None,
        format=share(record.teacher_sections is not None for record in taught),
        tokens=mean(tokens),
        # No row of its own for the gap: the teacher is what the gap is measured from.
        gaps=[() for _ in gaps_by_scorer],
    )


def format_share(value: Share | None, *, interval: bool = False) -> str:
    """As a decimal fraction with its interval on request."""
    if value is None:
        return NOTHING
    low, high = value.interval
    return f"{value.value:.3f} [{low:.3f}, {high:.3f}]" if interval else f"{value.value:.3f}"


def format_gap(gaps: tuple[Gap, ...], k: int) -> str:
    """Mean and half its interval."""
    if not gaps:
        return NOTHING
    mean, half = round(gaps[k].mean, 2) + 0.0, gaps[k].half  # adding 0 makes -0 a 0
    return f"{mean:+.2f}" + (f" ±{half:.2f}" if half is not None else "")


def cells(row: Row, num_scorers: int, *, intervals: bool) -> list[str]:
    """A row's texts, one a column after the first; ``intervals`` of both accuracies instead of the first alone."""
    return [
        str(row.prompts),
        format_share(row.accuracy, interval=True),
        format_share(row.sampled, interval=intervals),
        format_share(row.format),
        NOTHING if row.tokens is None else f"{row.tokens:.1f}",
        *(format_gap(row.gaps[scorer], k) for scorer in range(num_scorers) for k in range(len(ASPECTS))),
    ]


def plain_table(rows: Sequence[Row]) -> str:
    """For the terminal: the gaps under the first scorer, the one that all stages share."""
    header = ["stage", "prompts", "accuracy [95%]", "sampled", "format", "tokens", *(f"gap {name}" for name in ASPECTS)]
    lines = [header, *([row.title, *cells(row, 1, intervals=False)] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
