"""Some rows of a data file as a file of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from prism_pl.data.files import DataFile
from prism_pl.data.reading import look_up


def write_rows(
    data: DataFile,
    rows: Sequence[int],
    file: Path,
    columns: Mapping[str, Sequence[Any]] | None = None,
    leave_out: Sequence[str] = (),
) -> None:
    """Writes the rows as parquet, atomically, with further ``columns``; one that the file has already is replaced.

    Columns have our names. Image paths stay as they are, so the new file is read with ``DataFile.written``.
    """
    table = _renamed(data.table.select(rows), data.reading.columns)
    table = table.remove_columns([name for name in table.column_names if name in leave_out])
    for name, values in (columns or {}).items():
        table = table.remove_columns([name] if name in table.column_names else []).add_column(name, list(values))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    table.to_parquet(partial)
    partial.replace(file)


def _renamed(table: Dataset, columns: Mapping[str, str]) -> Dataset:
    """The table with the columns that ``columns`` names under ours, also those that are fields of others."""
    inner = {
        ours: [look_up(row, theirs) for row in table]
        for ours, theirs in columns.items()
        if theirs not in table.column_names
    }
    whole = {theirs: ours for ours, theirs in columns.items() if ours not in inner}
    replaced = [name for name in table.column_names if name in columns and name not in whole]
    table = table.remove_columns(replaced).rename_columns(whole) if whole else table.remove_columns(replaced)
    for name, values in inner.items():
        table = table.add_column(name, values)
    return table
