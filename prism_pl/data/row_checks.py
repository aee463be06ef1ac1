"""Whether rows can be used, measured before the first step: once, and remembered with the data file.

usable: no defect, prompt tokens <= data.max_prompt_tokens, response tokens <= data.max_response_tokens
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets.config
import numpy as np
from datasets import Dataset, Features, Value, disable_progress_bars, enable_progress_bars

from prism_pl.data.asked_formats import asked_format
from prism_pl.data.conversation import Outline, PromptEncoder, PromptRow
from prism_pl.data.files import DataFile, DataPath, Mixture
from prism_pl.data.rows import LearntResponse, check_needs
from prism_pl.errors import UserError
from prism_pl.runs.files import only_writer

_log = logging.getLogger(__name__)
_ROWS_A_BATCH = 256
_LONG = 20_000
"""Rows from which on a bar is shown and several processes check."""
_MAX_PROCESSES = 16
_FORMAT = 2
"""Raise it when ``check_rows`` changes, so that remembered results are left alone."""
Rows = np.ndarray[Any, np.dtype[np.int64]]
"""Row numbers."""
_COLUMNS = Features({"prompt_tokens": Value("int32"), "response_tokens": Value("int32"), "defect": Value("string")})


@dataclass(frozen=True)
class Requirements:
    """What a stage asks of its rows."""

    needs: tuple[str, ...] = ()
    """Columns that every row must have: ``answer``, ``teacher``, ``student``."""
    max_response_tokens: int | None = None
    """Limit of the response, for demonstrations; None for prompts."""
    response: LearntResponse = "turn"
    """Which one that is."""
    mask_history: bool = False
    """Of several turns of the assistant only the last is learnt."""
    drop_too_long: bool = False
    """Rows over a limit are dropped and counted by the stage; otherwise they stop it."""
    policy_side: bool = False
    """Where the rows bring a policy's response, it must be well-formed, too."""

    def needs_of(self, data: DataFile) -> tuple[str, ...]:
        """``needs``, and ``student`` where that applies."""
        return (*self.needs, "student") if self.policy_side and data.has_policy_side else self.needs


@dataclass(frozen=True)
class DataCheck:
    """One of a stage's data paths, and what the stage asks of the rows there."""

    path: DataPath
    key: str
    """The configuration key, for errors."""
    model: str
    """Whose processor encodes the rows."""
    max_prompt_tokens: int
    requirements: Requirements


@dataclass
class Checked:
    """One row."""

    images: int = 0
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    defect: str | None = None
    """Why a run would stop at it."""
    default_system: bool = False
    """Whether the data source's system prompt is added."""
    asked_format: str | None = None
    """A format that the prompt asks for, and rewards do not read; only where an answer is needed."""

    def too_long(self, encoder: PromptEncoder, requirements: Requirements) -> str | None:
        """Which limit the row is over."""
        prompt, response = self.prompt_tokens or 0, self.response_tokens or 0
        if prompt > encoder.max_prompt_tokens:
            return f"the prompt has {prompt} tokens, data.max_prompt_tokens is {encoder.max_prompt_tokens}"
        if requirements.max_response_tokens is not None and response > requirements.max_response_tokens:
            return f"the response has {response} tokens, data.max_response_tokens is {requirements.max_response_tokens}"
        return None


def check_rows(
    data: DataFile, rows: Sequence[int], encoder: PromptEncoder, requirements: Requirements, decode: bool = False
) -> list[Checked]:
    """What each row holds and what is wrong with it. Images are read to their headers, or whole with ``decode``."""
    needs = requirements.needs_of(data)
    results, texts, outlines = [Checked() for _ in rows], [""] * len(rows), dict[int, Outline]()
    for position, (row, result) in enumerate(zip(rows, results, strict=True)):
        try:
            prompt = _read(data, row, requirements)
            result.images, result.default_system = len(prompt.images), prompt.default_system
            check_needs(prompt, needs)
            result.asked_format = asked_format(prompt) if "answer" in needs else None
            if decode:
                for image in prompt.images:
                    image.open()
            texts[position] = prompt.response or ""
            outlines[position] = encoder.outline(prompt)
        except UserError as error:
            result.defect = str(error).removeprefix(f"{data.source(row)}: ")
    for position, count in zip(outlines, encoder.count_outlines(list(outlines.values())), strict=True):
        results[position].prompt_tokens = count
    if requirements.max_response_tokens is not None:
        for result, count in zip(results, encoder.count_response_tokens(texts), strict=True):
            result.response_tokens = None if result.defect else count
    return results


def _read(data: DataFile, row: int, requirements: Requirements) -> PromptRow:
    """As the stage reads it: a demonstration where a response is asked for, else a prompt."""
    if requirements.max_response_tokens is None:
        return data.prompt_row(row)
    return data.demonstration(row, requirements.response, requirements.mask_history)


def usable_rows(data: DataFile, encoder: PromptEncoder, requirements: Requirements) -> Rows:
    """Numbers of the rows to use, ascending, after checking all of them.

    A row over a length limit is an error, or is dropped and counted with ``drop_too_long``; any other defect is an error.
    What was found is kept in the datasets library's cache, beside the table itself: checking again takes no time.
    """
    found = _measured(data, encoder, requirements)
    prompt, response = (
        found.data.column(name).to_numpy(zero_copy_only=False) for name in ("prompt_tokens", "response_tokens")
    )
    limit = requirements.max_response_tokens
    short = (prompt <= encoder.max_prompt_tokens) & (limit is None or response <= limit)
    if short.all():
        return np.arange(len(data))
    first = int(np.argmin(short))
    measured = Checked(prompt_tokens=int(prompt[first]), response_tokens=None if limit is None else int(response[first]))
    problem = f"{data.source(first)}: {measured.too_long(encoder, requirements)}"
    if not requirements.drop_too_long:
        raise UserError(f"{problem}. Raise the limit, or drop such rows with data.drop_too_long: true.")
    dropped = int((~short).sum())
    if dropped == len(data):
        raise UserError(f"{data.name}: no row is left after dropping the {dropped} that are too long.")
    _log.warning("%d of %d rows of %s dropped as too long; first: %s", dropped, len(data), data.name, problem)
    return np.flatnonzero(short)


def usable_mixture(data: Mixture, encoder: PromptEncoder, requirements: Requirements) -> list[Rows]:
    """The same for every file of a mixture, in the mixture's numbers."""
    return [start + usable_rows(file, encoder, requirements) for start, file in zip(data.starts, data.files, strict=True)]


def row_tokens(data: Mixture, encoder: PromptEncoder, requirements: Requirements) -> Rows:
    """Tokens of each row's prompt and response, in the mixture's numbers, as ``usable_mixture`` has measured them."""
    found = [_measured(file, encoder, requirements).with_format("numpy") for file in data.files]
    return np.concatenate([table["prompt_tokens"][:] + table["response_tokens"][:] for table in found]).astype(np.int64)


def _measured(data: DataFile, encoder: PromptEncoder, requirements: Requirements) -> Dataset:
    """The counts of every row. Raises UserError for the first defect."""
    found = _map(data, encoder, requirements, fresh=False)
    defective = np.flatnonzero(found.data.column("defect").is_valid().to_numpy()).tolist()
    if not defective:
        return found
    # Remembered defects may have been mended since: an image file is no part of the table.
    again = check_rows(data, defective, encoder, requirements)
    left = [(row, checked.defect) for row, checked in zip(defective, again, strict=True) if checked.defect]
    if not left:
        return _map(data, encoder, requirements, fresh=True)
    row, defect = left[0]
    more = f" ({len(left) - 1} more rows are defective; `check-data` lists them.)" if len(left) > 1 else ""
    raise UserError(f"{data.source(row)}: {defect}{more}")


def _map(data: DataFile, encoder: PromptEncoder, requirements: Requirements, fresh: bool) -> Dataset:
    def measure(_: list[object], rows: list[int]) -> dict[str, list[object]]:
        checked = check_rows(data, rows, encoder, requirements)
        return {name: [getattr(row, name) for row in checked] for name in _COLUMNS}

    with_response = requirements.max_response_tokens is not None
    needs = requirements.needs_of(data)
    parts = (
        _FORMAT,
        data.table._fingerprint,
        str(data.root),
        encoder.fingerprint,
        needs,
        with_response,
        requirements.response,
        requirements.mask_history,
        data.reading.changes,
    )
    features = data.table.features
    # Map hands a column over; the rows themselves are read in ``measure``, one at a time, so a narrow one will do.
    narrow = next((name for name, feature in features.items() if isinstance(feature, Value)), next(iter(features)))
    long = len(data) >= _LONG
    if long:
        enable_progress_bars()
    fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    try:
        # Once a disk, however many processes on however many nodes want it: the others find it in the cache.
        with only_writer(Path(datasets.config.HF_DATASETS_CACHE) / "prism_pl" / fingerprint):
            return data.table.map(
                measure, batched=True, batch_size=_ROWS_A_BATCH, with_indices=True,
                input_columns=[narrow], remove_columns=data.table.column_names, features=_COLUMNS,
                new_fingerprint=fingerprint, load_from_cache_file=not fresh,
                num_proc=min(_MAX_PROCESSES, len(os.sched_getaffinity(0))) if long else None,
                desc=f"checking {data.name}",
            )  # fmt: skip
    finally:
        disable_progress_bars()
