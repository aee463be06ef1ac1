"""``check-data``: reads a whole data file with the real processor and names every row that would stop a run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from prism_pl.conversation import PromptEncoder
from prism_pl.errors import UserError
from prism_pl.row_files import write_rows
from prism_pl.rows import DataFile, check_needs

_SHOWN = 20
_PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class Requirements:
    """What a stage asks of its rows."""

    needs: tuple[str, ...] = ()
    """Columns that every row must have, ``answer`` or ``teacher``."""
    max_response_tokens: int | None = None
    """Limit of the last turn, for demonstrations; None for prompts."""
    drop_too_long: bool = False
    """Rows over a limit are dropped and counted by the stage; otherwise they stop it."""


@dataclass(frozen=True)
class Checked:
    """One row."""

    images: int = 0
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    defect: str | None = None
    """Why a run would stop at it."""
    too_long: str | None = None


def check_row(data: DataFile, index: int, encoder: PromptEncoder, requirements: Requirements) -> Checked:
    """Everything that a stage does to the row before its first step, every image decoded."""
    source, images, prompt_tokens, response_tokens = f"{data.source(index)}: ", 0, None, None
    try:
        row = data.prompt_row(index)
        images = len(row.images)
        check_needs(row, requirements.needs)
        for image in row.images:
            image.open()
        (prompt_tokens,) = encoder.count_tokens([row])
        if requirements.max_response_tokens is not None:
            (response_tokens,) = encoder.count_response_tokens([data.response(index)])
    except UserError as error:
        return Checked(images, prompt_tokens, response_tokens, defect=str(error).removeprefix(source))
    too_long = None
    if prompt_tokens > encoder.max_prompt_tokens:
        too_long = f"the prompt has {prompt_tokens} tokens, the limit is {encoder.max_prompt_tokens}"
    elif response_tokens is not None and response_tokens > (requirements.max_response_tokens or 0):
        too_long = f"the response has {response_tokens} tokens, the limit is {requirements.max_response_tokens}"
    return Checked(images, prompt_tokens, response_tokens, too_long=too_long)


def check_data(path: str, model: str, max_prompt_tokens: int, requirements: Requirements, write_clean: str | None) -> bool:
    """Prints a table and the defects; True if no row would stop a run. ``write_clean`` is a folder for the good rows."""
    data, encoder = DataFile.open(path, "data.path"), PromptEncoder(model, max_prompt_tokens)
    rows = [check_row(data, i, encoder, requirements) for i in tqdm(range(len(data)), desc=data.path.name, unit="row")]
    print("\n".join(_table(data, rows)))
    stopping = [(index, row.defect or row.too_long) for index, row in enumerate(rows) if row.defect or row.too_long]
    for index, problem in stopping[:_SHOWN]:
        print(f"row {index + 1}: {problem}")
    if len(stopping) > _SHOWN:
        print(f"... and {len(stopping) - _SHOWN} more")
    if write_clean is not None:
        good = [index for index, row in enumerate(rows) if not row.defect and not row.too_long]
        if not good:
            raise UserError(f"{data.path}: no good row is left to write.")
        target = Path(write_clean) / f"{data.path.stem}.parquet"
        write_rows(data, good, target)
        print(f"{len(good)} good rows: {target}")
    return not any(row.defect or (row.too_long and not requirements.drop_too_long) for row in rows)


def _table(data: DataFile, rows: Sequence[Checked]) -> list[str]:
    lines = [
        f"file             {data.path}",
        f"rows             {len(rows)}",
        f"images           {sum(r.images for r in rows)}",
    ]
    for name, values in (
        ("prompt tokens", [row.prompt_tokens for row in rows if row.prompt_tokens is not None]),
        ("response tokens", [row.response_tokens for row in rows if row.response_tokens is not None]),
    ):
        if values:
            parts = ", ".join(f"{'max' if p == 100 else f'p{p}'} {percentile(values, p)}" for p in _PERCENTILES)
            lines.append(f"{name:<16} {parts}")
    counts = Counter(bool(row.defect) for row in rows)
    return [*lines, f"defective rows   {counts[True]}", f"too long         {sum(bool(row.too_long) for row in rows)}"]


def percentile(values: Sequence[int], percent: int) -> int:
    """The smallest value that so many per cent of the values do not exceed.

    >>> percentile([4, 1, 3, 2], 50), percentile([4, 1, 3, 2], 99)
    (2, 4)
    """
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]
