"""A policy's answers to the rows of a data file, on disk as they come, so that a kill costs one call's work."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prism_pl.conversation import PromptEncoder
from prism_pl.data_files import DataFile
from prism_pl.engines import RolloutEngine
from prism_pl.options import SamplingOptions
from prism_pl.run_files import append_lines, read_lines
from prism_pl.types import PromptBatch

_PROMPTS_A_CALL = 64


def answer_rows(
    engine: RolloutEngine,
    data: DataFile,
    encoder: PromptEncoder,
    rows: Sequence[int],
    file: Path,
    sampling: SamplingOptions,
    record: Callable[[PromptBatch], Sequence[dict[str, Any]]],
    *seed: int | str,
) -> None:
    """One line of JSON a row: its number under ``row``, and what ``record`` makes of each prompt's responses.

    Rows that the file holds already are not sampled again. The seeds are a function of ``seed`` and the prompt alone.
    """
    done = {line["row"] for line in read_lines(file)}
    todo = [row for row in rows if row not in done]
    with tqdm(total=len(rows), initial=len(rows) - len(todo), desc=file.stem, unit="prompt") as bar:
        for start in range(0, len(todo), _PROMPTS_A_CALL):
            own = todo[start : start + _PROMPTS_A_CALL]
            batch = engine.answer(encoder.encode([data.prompt_row(row) for row in own]), sampling, *seed)
            lines = [{"row": row, **fields} for row, fields in zip(own, record(batch), strict=True)]
            append_lines(file, [json.dumps(line) for line in lines])
            bar.update(len(own))
