"""Which rows a teacher is paid for."""

import json
from pathlib import Path

import pytest

from prism_pl.curation.selection import hard_rows
from prism_pl.data.files import DataFile
from prism_pl.errors import UserError

RATES = [0.5, 0.0, 0.25, 1.0, 0.25, 0.0]


def data(folder: Path, rates: list[float | None]) -> DataFile:
    rows = [{"question": f"{index}?", "answer": "1", "pass_rate": rate} for index, rate in enumerate(rates)]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataFile.open(str(folder / "all.jsonl"), "path")


@pytest.mark.parametrize(
    ("low", "high", "hardest", "limit", "rows"),
    [
        (None, None, None, None, [0, 1, 2, 3, 4, 5]),
        (None, None, None, 2, [0, 1]),
        (0.0, 0.0, None, None, [1, 5]),
        (0.2, 0.5, None, None, [0, 2, 4]),
        (0.2, None, None, None, [0, 2, 3, 4]),
        (None, 0.25, None, 3, [1, 2, 4]),
        # Of the two with 0.25 the earlier one.
        (None, None, 3, None, [1, 2, 5]),
        (0.1, None, 2, None, [2, 4]),
        (None, None, 3, 2, [1, 2]),
        (None, None, 99, None, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_the_range_then_the_hardest_then_the_limit(
    low: float | None, high: float | None, hardest: int | None, limit: int | None, rows: list[int], tmp_path: Path
) -> None:
    assert hard_rows(data(tmp_path, RATES), low, high, hardest, limit) == rows


def test_a_file_without_pass_rates_names_the_command_that_makes_them(tmp_path: Path) -> None:
    (tmp_path / "rl.jsonl").write_text('{"question": "1?", "answer": "1"}\n')
    plain = DataFile.open(str(tmp_path / "rl.jsonl"), "path")
    assert hard_rows(plain, None, None, None, 1) == [0]
    for choice in ((0.0, None, None), (None, 0.5, None), (None, None, 1)):
        with pytest.raises(UserError, match=r"rl.jsonl has no column `pass_rate`.*python -m prism_pl filter"):
            hard_rows(plain, *choice, limit=None)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0 <= low <= high <= 1 is needed, they are 0.6 and 0.5"):
        hard_rows(data(tmp_path, RATES), 0.6, 0.5, None, None)
    with pytest.raises(UserError, match="hardest: a number of rows is needed, it is 0"):
        hard_rows(data(tmp_path, RATES), None, None, 0, None)
    with pytest.raises(UserError, match=r"no row has a pass rate from 0.6 to 0.9"):
        hard_rows(data(tmp_path, RATES), 0.6, 0.9, None, None)
    with pytest.raises(UserError, match=r"all.jsonl:2: the `pass_rate` is None"):
        hard_rows(data(tmp_path, [0.5, None]), 0.0, 1.0, None, None)
    with pytest.raises(UserError, match=r"all.jsonl:1: the `pass_rate` is 7.5"):
        hard_rows(data(tmp_path, [7.5, 1.0]), 0.0, 1.0, None, None)
