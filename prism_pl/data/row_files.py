"""Some rows of a data file as a file of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prism_pl.data.files import DataFile


def write_rows(data: DataFile, rows: Sequence[int], file: Path, columns: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Writes the rows as parquet, atomically, with further ``columns``; one that the file has already is replaced.

    Image paths stay as they are, so the new file is read with the old one's ``image_root``.
    """
    table = data.table.select(rows)
    for name, values in (columns or {}).items():
        table = table.remove_columns([name] if name in table.column_names else []).add_column(name, list(values))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    table.to_parquet(partial)
    partial.replace(file)
