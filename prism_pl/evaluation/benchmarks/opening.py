"""A benchmark's files on disk as rows of our own schema. Nothing is fetched: what is missing is said with its command."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value, concatenate_datasets, disable_progress_bars

from prism_pl.data.files import DataFile, DataSource, load_file
from prism_pl.data.reading import listed
from prism_pl.errors import UserError
from prism_pl.evaluation.benchmarks.base import Benchmark, Membership

_ENDINGS = (".parquet", ".jsonl", ".json")
_ROWS_A_BATCH = 64
_TEXTS = List(Value("string"))
_COLUMNS = Features(
    {
        "question": Value("string"),
        "images": List({"bytes": Value("binary"), "path": Value("string")}),
        "answer": _TEXTS,
        "options": _TEXTS,
        "group": Value("string"),
        "members": List({"figure": Value("string"), "unit": Value("string"), "part": Value("string")}),
    }
)


def open_benchmark(benchmark: Benchmark, path: str | DataSource | None, key: str) -> DataFile:
    """The rows of all its files, numbered through; ``path`` is a folder or a file, by default the benchmark's own.

    Raises UserError if there are no files, with the command that fetches them, and for columns or rows of another schema.
    """
    place = path if path is not None else benchmark.folder
    source = DataSource(path=place) if isinstance(place, str) else place
    if source.columns or source.ignore:
        raise UserError(f"{key}: a benchmark's columns are known; leave `columns` and `ignore` out.")
    # No benchmark has a split for training, so the default of a source means that none was given.
    split = benchmark.split if source.split == DataSource.split else source.split
    disable_progress_bars()
    folder = Path(source.path)
    tables = [_converted(benchmark, file, key) for file in _files(benchmark, folder, split, key)]
    root = Path(source.image_root) if source.image_root else folder if folder.is_dir() else folder.parent
    return DataFile(source.path, root, concatenate_datasets(tables), source)


def memberships(data: DataFile, rows: Sequence[int]) -> dict[int, list[Membership]]:
    """The units that each row belongs to."""
    column = data.table.select_columns(["members"])
    return {row: [Membership(**own) for own in column[row]["members"]] for row in rows}


def _files(benchmark: Benchmark, folder: Path, split: str, key: str) -> list[Path]:
    """A file itself, or those of a folder that belong to the split: ``testmini.parquet``, ``testmini-00000-of-00001..``."""
    if folder.is_file():
        return [folder]
    names = re.compile(rf"{re.escape(split)}(-\d+.*)?")
    every = [file for file in sorted(folder.rglob("*")) if names.fullmatch(file.stem) and _counts(benchmark, file, folder)]
    # Some data sets have the same rows in two kinds of file.
    found = next((own for ending in _ENDINGS if (own := [file for file in every if file.suffix == ending])), [])
    missing = [name for name in benchmark.folders if not any(name in file.relative_to(folder).parts for file in found)]
    if found and not missing:
        return found
    files = " and ".join(f"{name}/{split}-*.parquet" for name in missing) or f"{split}-*.parquet"
    raise UserError(
        f"{key}: {folder} {f'holds no {files}' if folder.is_dir() else 'does not exist'}. Nothing is fetched here; on a "
        f"machine with a connection this does it: {benchmark.download_command(str(folder))}"
    )


def _counts(benchmark: Benchmark, file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    hidden = any(part.startswith(".") for part in parts)  # the cache of `hf download`
    return not hidden and (not benchmark.folders or bool(set(benchmark.folders) & set(parts)))


def _converted(benchmark: Benchmark, file: Path, key: str) -> Dataset:
    """A file's rows in our schema, with the columns that figures need."""
    table = load_file(file, key)
    lacking = [column for column in benchmark.columns if column not in table.column_names]
    if lacking:
        raise UserError(
            f"{key}: {file} is not {benchmark.hub}: it has no `{'`, `'.join(lacking)}`, but {listed(table.column_names)}."
        )

    def read(batch: Mapping[str, Sequence[Any]], rows: Sequence[int]) -> dict[str, list[Any]]:
        read_rows = []
        for place, row in enumerate(rows):
            try:
                own = benchmark.read({column: batch[column][place] for column in batch})
            except UserError as error:
                raise UserError(f"{file}:{row + 1}: {error}") from None
            read_rows.append(
                {
                    "question": own.question,
                    "images": [_entry(image) for image in own.images],
                    "answer": list(own.answers),
                    "options": list(own.options),
                    "group": own.group,
                    "members": [asdict(member) for member in own.members],
                }
            )
        return {column: [row[column] for row in read_rows] for column in _COLUMNS}

    # The library keeps what it has made under this name: of these rows, by this code.
    code = b"".join(source.read_bytes() for source in sorted(Path(__file__).parent.glob("*.py")))
    name = hashlib.sha256(f"{table._fingerprint} {benchmark.name} ".encode() + code).hexdigest()[:32]
    return table.map(
        read, batched=True, batch_size=_ROWS_A_BATCH, with_indices=True, remove_columns=table.column_names,
        features=_COLUMNS, new_fingerprint=name,
    )  # fmt: skip


def _entry(image: Any) -> dict[str, Any]:
    """An image as the column holds it."""
    if isinstance(image, Mapping):
        return {"bytes": image.get("bytes"), "path": image.get("path")}
    return {"bytes": image, "path": None} if isinstance(image, bytes) else {"bytes": None, "path": str(image)}
