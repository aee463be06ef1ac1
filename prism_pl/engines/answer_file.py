"""A policy's answers to the rows of a data file, on disk as they come, so that a kill costs one call's work."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.engines import RolloutEngine
from prism_pl.runs.files import append_lines, keep_settings, only_process, read_lines
from prism_pl.types import Rollouts, SamplingOptions

_PROMPTS_A_CALL = 64


Record = Callable[[Rollouts], Sequence[dict[str, Any]]]
"""What a line keeps of each prompt's responses."""


def kept_texts(rollouts: Rollouts) -> list[dict[str, Any]]:
    """The record of the texts alone."""
    return [{"responses": texts} for texts in rollouts.texts]


def answers(
    engine: RolloutEngine,
    policy: str,
    data: DataFile,
    encoder: PromptEncoder,
    rows: Sequence[int],
    file: Path,
    sampling: SamplingOptions,
    record: Record,
    seed: int,
    command: str,
    content: str,
    **settings: Any,
) -> dict[int, dict[str, Any]]:
    """A command's lines by row, sampled by ``policy`` where the file lacks them; one process at a time in its folder.

    Raises UserError if the folder's ``content`` was made with another policy, data file, reading of it, sampling, seed or
    ``settings``.
    """
    reading = {"reading": data.reading.changes} if data.reading.changes else {}
    settings = {"policy": policy, "path": data.name, "seed": seed, **reading, **settings, **vars(sampling)}
    with only_process(file.parent):
        keep_settings(file.parent / f"{command}.json", settings, content)
        done = {line["row"] for line in read_lines(file)}
        todo = [row for row in rows if row not in done]
        if todo:
            engine.start(policy, encoder.max_prompt_tokens, sampling)
            answer_rows(engine, data, encoder, todo, file, sampling, record, seed, command, total=len(rows))
            engine.close()
    return {line["row"]: line for line in read_lines(file)}


def answer_rows(
    engine: RolloutEngine,
    data: DataFile,
    encoder: PromptEncoder,
    todo: Sequence[int],
    file: Path,
    sampling: SamplingOptions,
    record: Record,
    *seed: int | str,
    total: int,
) -> None:
    """Appends a line of JSON a row: its number under ``row``, and what ``record`` makes of each prompt's responses.

    ``todo`` are the rows that nobody has answered yet, of the ``total`` that the bar counts to. The seeds are a function of
    ``seed`` and the prompt alone.
    """
    with tqdm(total=total, initial=total - len(todo), desc=file.stem, unit="prompt") as bar:
        size = _PROMPTS_A_CALL * engine.num_devices
        for start in range(0, len(todo), size):
            own = todo[start : start + size]
            rollouts = engine.answer(encoder.encode([data.prompt_row(row) for row in own]), sampling, *seed)
            lines = [{"row": row, **fields} for row, fields in zip(own, record(rollouts), strict=True)]
            append_lines(file, [json.dumps(line) for line in lines])
            bar.update(len(own))
