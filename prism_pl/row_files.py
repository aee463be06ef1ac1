"""Some rows of a data file as a file of their own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from prism_pl.images import image_file
from prism_pl.rows import DataFile


def write_rows(data: DataFile, rows: Sequence[int], file: Path, columns: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Writes the rows as parquet, atomically; image paths become relative to their new folder.

    ``columns`` are further ones; one that the file has already is replaced.
    """
    table = _relocated(data, rows, file.parent)
    for name, values in (columns or {}).items():
        table = table.remove_columns([name] if name in table.column_names else []).add_column(name, list(values))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    table.to_parquet(partial)
    partial.replace(file)


def _relocated(data: DataFile, rows: Sequence[int], folder: Path) -> Dataset:
    def moved(entry: Any) -> Any:
        path = image_file(entry, data.path.parent, str(data.path)).path
        if path is None:
            # Images that are bytes stay as they are.
            return entry
        target = os.path.relpath(path, folder)
        return {**entry, "path": target} if isinstance(entry, dict) else target

    def move(row: dict[str, Any]) -> dict[str, Any]:
        columns = [column for column in ("images", "image") if row.get(column)]
        return {c: [moved(entry) for entry in row[c]] if isinstance(row[c], list) else moved(row[c]) for c in columns}

    table = data.table.select(rows)
    return table.map(move, load_from_cache_file=False) if {"images", "image"} & set(table.column_names) else table
