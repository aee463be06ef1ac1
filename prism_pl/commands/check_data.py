"""``check-data``: reads a whole data file with the real processor and names every row that would stop a run."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, Mixture
from prism_pl.data.reading import SYSTEM_PROMPT, as_json
from prism_pl.data.row_checks import Checked, DataCheck, Requirements, check_rows
from prism_pl.data.row_files import write_rows
from prism_pl.errors import UserError

_SHOWN = 20
_SHOWN_OF_PROMPT = 60
_ROWS_A_BATCH = 64
_PERCENTILES = (50, 90, 99, 100)


@dataclass
class _Findings:
    """What a pass over a file found; a few bytes a row."""

    images: int = 0
    prompt_tokens: "array[int]" = field(default_factory=lambda: array("i"))
    response_tokens: "array[int]" = field(default_factory=lambda: array("i"))
    good: "array[int]" = field(default_factory=lambda: array("q"))
    problems: list[str] = field(default_factory=list)
    """The first ones, to be shown."""
    default_system: int = 0
    """Rows that get the data source's system prompt."""
    asked_formats: Counter[str] = field(default_factory=Counter)
    first_asked: int = -1
    num_defective: int = 0
    num_too_long: int = 0


def check_data(checks: Sequence[DataCheck], write_clean: str | None) -> bool:
    """Prints a table and the defects of each file; True if no row would stop a run.

    ``write_clean`` is a folder for the good rows.
    """
    usable, written = True, set[Path]()
    for check in checks:
        encoder = PromptEncoder(check.model, check.max_prompt_tokens)
        for data in Mixture.open(check.path, check.key).files:
            found = _check_file(data, encoder, check.requirements)
            print("\n".join(_table(data, found)))
            usable &= not found.num_defective and (check.requirements.drop_too_long or not found.num_too_long)
            if write_clean is not None:
                _write_clean(data, found, Path(write_clean), written)
    return usable


def _check_file(data: DataFile, encoder: PromptEncoder, requirements: Requirements) -> _Findings:
    """Every image is decoded: a header can be whole where the picture is not."""
    found = _Findings()
    with tqdm(total=len(data), desc=Path(data.name).name, unit="row") as bar:
        for start in range(0, len(data), _ROWS_A_BATCH):
            rows = range(start, min(start + _ROWS_A_BATCH, len(data)))
            for row, checked in zip(rows, check_rows(data, rows, encoder, requirements, decode=True), strict=True):
                _add(found, row, checked, checked.too_long(encoder, requirements))
            bar.update(len(rows))
            bar.set_postfix(defective=found.num_defective, too_long=found.num_too_long, refresh=False)
    return found


def _add(found: _Findings, row: int, checked: Checked, too_long: str | None) -> None:
    found.images += checked.images
    found.default_system += checked.default_system
    if checked.asked_format is not None:
        found.first_asked = row if not found.asked_formats else found.first_asked
        found.asked_formats[checked.asked_format] += 1
    found.num_defective += checked.defect is not None
    found.num_too_long += too_long is not None
    if checked.prompt_tokens is not None:
        found.prompt_tokens.append(checked.prompt_tokens)
    if checked.response_tokens is not None:
        found.response_tokens.append(checked.response_tokens)
    problem = checked.defect or too_long
    if problem is None:
        found.good.append(row)
    elif len(found.problems) < _SHOWN:
        found.problems.append(f"row {row + 1}: {problem}")


def _write_clean(data: DataFile, found: _Findings, folder: Path, written: set[Path]) -> None:
    target = folder / f"{Path(data.name).stem}.parquet"
    if target in written:
        raise UserError(f"--write-clean: two sources would be written to {target}; check them one at a time.")
    if not found.good:
        raise UserError(f"{data.name}: no good row is left to write.")
    write_rows(data, found.good, target)
    written.add(target)
    print(f"{len(found.good)} good rows: {target}{as_json(data.written)}")


def _table(data: DataFile, found: _Findings) -> list[str]:
    lines = [f"file             {data.name}", f"rows             {len(data)}", f"images           {found.images}"]
    for name, values in (("prompt tokens", found.prompt_tokens), ("response tokens", found.response_tokens)):
        if values:
            parts = ", ".join(f"{'max' if p == 100 else f'p{p}'} {percentile(values, p)}" for p in _PERCENTILES)
            lines.append(f"{name:<16} {parts}")
    lines.append(f"system prompt    {_named(data.reading.system_prompt)}, added to {found.default_system} rows")
    if found.asked_formats:
        asked = ", ".join(f"{name} ({count} rows)" for name, count in found.asked_formats.most_common())
        lines.append(
            f"warning          row {found.first_asked + 1}: the prompt asks for a format that rewards do not read: {asked}."
            " They read the section <answer> of a response with all three sections (PythonReward reads what you will)."
            " Take the request out of the prompts."
        )
    lines += [f"defective rows   {found.num_defective}", f"too long         {found.num_too_long}", *found.problems]
    more = found.num_defective + found.num_too_long - len(found.problems)
    return [*lines, f"... and {more} more"] if more else lines


def _named(prompt: str | None) -> str:
    if prompt is None:
        return "none"
    if prompt == SYSTEM_PROMPT:
        return "PRISM's"
    text = " ".join(prompt.split())
    return repr(text if len(text) <= _SHOWN_OF_PROMPT else f"{text[:_SHOWN_OF_PROMPT]}...")


def percentile(values: Sequence[int], percent: int) -> int:
    """The smallest value that so many per cent of the values do not exceed.

    >>> percentile([4, 1, 3, 2], 50), percentile([4, 1, 3, 2], 99)
    (2, 4)
    """
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]
