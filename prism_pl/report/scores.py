"""Reward gaps of all stages under one discriminator, so that a difference is the policies' and not the discriminator's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.discriminators import load_scorer
from prism_pl.errors import UserError
from prism_pl.game import Scores, arrange, make_scoring_batch, score_without_stage
from prism_pl.metrics.intervals import half_width
from prism_pl.report.collect import Answered, Run
from prism_pl.types import Prompt

_MAX_TOKENS = 8192
_NO_LIMIT = 2**31
"""Prompts that were trained on need no second check of their length."""


@dataclass(frozen=True)
class Gap:
    """Mean of teacher minus policy over the pairs with a well-formed response, with half its 95% interval."""

    mean: float
    half: float | None
    """None with fewer than two pairs."""
    pairs: int


@dataclass(frozen=True)
class ResponseScores:
    """Of one well-formed response and the teacher's to the same prompt, in the order of ASPECTS."""

    own: tuple[float, ...]
    teacher: tuple[float, ...]

    @property
    def gaps(self) -> tuple[float, ...]:
        """Teacher minus policy."""
        return tuple(teacher - own for own, teacher in zip(self.own, self.teacher, strict=True))


@dataclass(frozen=True)
class StageGaps:
    """One discriminator's gaps by stage, in the order of ASPECTS; an empty dict with the reason if there are none."""

    title: str
    gaps: dict[str, tuple[Gap, ...]]
    responses: dict[str, dict[str, ResponseScores]]
    """By stage and the prompt's ``source``, where they are finite."""
    problem: str | None = None


def score_run(run: Run, folder: Path | None, title: str) -> StageGaps:
    """All held-out responses of a run, scored by the discriminator in ``folder``; None where no stage trains it."""
    if folder is None:
        return _unmeasured(title, ", the run has no stage that trains it.")
    if not folder.is_dir():
        return _unmeasured(title, f", {folder} is missing.")
    if not run.answering:
        return _unmeasured(title, ", no stage has held-out responses.")
    try:
        return _measured(run, folder, title)
    except UserError as error:
        return _unmeasured(title, f". {error}")


def _unmeasured(title: str, reason: str) -> StageGaps:
    return StageGaps(title, {}, {}, f"Reward gaps under the {title}: not measured{reason}")


def _measured(run: Run, folder: Path, title: str) -> StageGaps:
    """One scoring batch for all stages: each prompt's image and teacher are computed once, a stage is a column."""
    records = [record for record in run.teacher if record.teacher_sections]
    if not records:
        raise UserError("No held-out row has a well-formed `teacher`.")
    encoder = PromptEncoder(str(folder), _NO_LIMIT)
    said = [{record.prompt: record.sampled for record in stage.heldout} for stage in run.answering]
    # A prompt that a stage was not asked has no response there: the empty text is malformed and not in the mean.
    texts = [[stage.get(record.prompt, "") for stage in said] for record in records]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scorer = load_scorer(str(folder), "report").eval().to(device)
    scoring = make_scoring_batch(heldout_prompts(records, encoder), texts, encoder.tokenizer, scorer.reading)
    scores = arrange(score_without_stage(scorer, scoring, _MAX_TOKENS), scoring)
    columns = {stage.name: scores.part(slice(None), slice(k, k + 1)) for k, stage in enumerate(run.answering)}
    sources = [record.source for record in records]
    return StageGaps(
        title,
        {name: _stage_gaps(own) for name, own in columns.items()},
        {name: dict(_by_source(own, sources)) for name, own in columns.items()},
    )


def _stage_gaps(scores: Scores) -> tuple[Gap, ...]:
    margin_MK = scores.margin_MK.double()
    count = len(margin_MK)
    if not count:
        return ()
    return tuple(Gap(sum(column) / count, half_width(column), count) for column in margin_MK.T.tolist())


def _by_source(scores: Scores, sources: Sequence[str]) -> Iterator[tuple[str, ResponseScores]]:
    """Of one stage: G is 1."""
    there_P = (scores.valid_PG & ~scores.lost_PG)[:, 0] & scores.teacher_PK.isfinite().all(-1)
    for p in there_P.nonzero().flatten().tolist():
        yield sources[p], ResponseScores(tuple(scores.policy_PGK[p, 0].tolist()), tuple(scores.teacher_PK[p].tolist()))


def heldout_prompts(records: Sequence[Answered], encoder: PromptEncoder) -> list[Prompt]:
    """The prompts that the records came from. Raises UserError if a data file is gone or is no longer the same."""
    files: dict[str, DataFile] = {}
    rows = []
    for record in records:
        path, _, number = record.source.rpartition(":")
        if path not in files:
            files[path] = DataFile.open(DataSource(path=path, **record.data_source), "report")
        data = files[path]
        if not 1 <= int(number) <= len(data):
            raise UserError(f"{record.source}: the data file has {len(data)} rows; it has changed since the run.")
        row = data.prompt_row(int(number) - 1)
        if row.teacher != record.teacher:
            raise UserError(f"{record.source}: the row's `teacher` is not the run's; the data file has changed since.")
        rows.append(row)
    return encoder.encode(rows)


def teacher_tokens(run: Run) -> tuple[int, ...]:
    """Lengths of the teacher's responses in the policies' tokens, end token included; empty without a tokenizer."""
    folders = [run.folder / name / "model" for name in run.stages]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        return ()
    encoder = PromptEncoder(str(folder), _NO_LIMIT)
    return tuple(len(encoder.response_ids(record.teacher)) for record in run.teacher if record.teacher)
