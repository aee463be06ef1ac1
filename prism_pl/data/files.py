"""Data files on disk or on the hub as numbered rows, one file or a weighted mixture of several."""

import glob
import hashlib
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, DatasetDict, Image, LargeList, List, Video, disable_progress_bars, load_dataset

from prism_pl.data.conversation import PromptRow
from prism_pl.data.reading import ReadingOptions
from prism_pl.data.rows import LearntResponse, parse_demonstration, parse_prompt
from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.errors import UserError, cut
from prism_pl.ranges import PositiveFloat

_LOADERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json"}
_MOST_NAMING = 1000
"""Rows that are read to tell a file from another one."""
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class DataSource(ReadingOptions):
    """One set of rows: where it is, how it is read, and how often it is seen."""

    path: str
    """A json, jsonl or parquet file, a folder or glob of such, a dataset on the hub, or ``embedded/digits/<file>``."""
    split: str = "train"
    """Of a folder or a dataset on the hub that has several."""
    image_root: str | None = None
    """The folder that image paths are relative to and may not leave; null is the data file's own."""
    weight: PositiveFloat = 1.0
    """How often each row is seen in an epoch. 0.5: half of the rows, the other half in the next epoch."""


DataPath = str | DataSource | list[DataSource]


@dataclass(frozen=True)
class DataFile:
    """The rows of one source, read lazily from a memory map."""

    name: str
    """The path or hub name as given, for errors."""
    root: Path
    """The folder that image paths are relative to and may not leave."""
    table: Dataset
    reading: ReadingOptions = field(default_factory=ReadingOptions)

    @classmethod
    def open(cls, source: str | DataSource, key: str) -> "DataFile":
        """``key`` is the configuration key, for errors. Raises UserError if there is nothing to read, or no row in it."""
        source = DataSource(path=source) if isinstance(source, str) else source
        source.check(key)
        name, root, table = _load(source, key)
        if not len(table):
            raise UserError(f"{key}: {name} has no rows.")
        source.check_columns(table.column_names, key)
        return cls(name, root, table, source)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def content(self) -> str:
        """A name for what the rows hold: their number, their bytes in all, and of many a thousand, evenly spread. A copy of
        the file has the same."""
        digest = hashlib.sha256(f"{len(self)} {self.table.data.nbytes}".encode())
        for number in range(min(len(self), _MOST_NAMING)):
            digest.update(repr(self.table[number * len(self) // min(len(self), _MOST_NAMING)]).encode())
        return digest.hexdigest()

    @property
    def has_policy_side(self) -> bool:
        """Whether the rows bring a policy's response to compare the teacher's with."""
        columns = {*self.table.column_names, *self.reading.columns}
        return bool(columns & {"student", "student_response"}) or {"student_caption", "student_cot"} <= columns

    @property
    def written(self) -> dict[str, Any]:
        """The further keys of a data source that reads this file's rows once they are written (``row_files.py``)."""
        kept = {name: value for name, value in self.reading.changes.items() if name != "columns"}
        return {"image_root": str(self.root) if self.root.is_dir() else None, **kept}

    def source(self, index: int) -> str:
        """``file:row`` with rows counted from 1, as editors do."""
        return f"{self.name}:{index + 1}"

    def prompt_row(self, index: int) -> PromptRow:
        """The prompt of a row: its turns before the last assistant turn."""
        return parse_prompt(self.table[index], self.source(index), self.root, self.reading)

    def demonstration(self, index: int, learnt: LearntResponse = "turn", mask_history: bool = False) -> PromptRow:
        """The prompt of a row with what is learnt."""
        return parse_demonstration(self.table[index], self.source(index), self.root, self.reading, learnt, mask_history)


@dataclass(frozen=True)
class Mixture:
    """The rows of several files, numbered through; ``weights`` says how often an epoch sees each file's rows."""

    files: tuple[DataFile, ...]
    weights: tuple[float, ...] = (1.0,)

    @classmethod
    def open(cls, path: DataPath, key: str) -> "Mixture":
        """Raises UserError for a source that cannot be read or whose weight is not positive."""
        sources = path if isinstance(path, list) else [DataSource(path=path) if isinstance(path, str) else path]
        if not sources:
            raise UserError(f"{key}: an empty list of data sources.")
        for source in sources:
            if source.weight <= 0:
                raise UserError(f"{key}: {source.path} has the weight {source.weight}; leave the source out or raise it.")
        return cls(tuple(DataFile.open(source, key) for source in sources), tuple(source.weight for source in sources))

    @cached_property
    def starts(self) -> list[int]:
        """The number of each file's first row."""
        return [0, *accumulate(len(file) for file in self.files)][:-1]

    def __len__(self) -> int:
        return sum(len(file) for file in self.files)

    def prompt_row(self, index: int) -> PromptRow:
        file, row = self._locate(index)
        return file.prompt_row(row)

    def demonstration(self, index: int, learnt: LearntResponse = "turn", mask_history: bool = False) -> PromptRow:
        file, row = self._locate(index)
        return file.demonstration(row, learnt, mask_history)

    def source(self, index: int) -> str:
        """``file:row`` of a row."""
        file, row = self._locate(index)
        return file.source(row)

    def find(self, source: str) -> int:
        """The number of the row that is called ``file:row``."""
        name, _, row = source.rpartition(":")
        position = next(position for position, file in enumerate(self.files) if file.name == name)
        return self.starts[position] + int(row) - 1

    def _locate(self, index: int) -> tuple[DataFile, int]:
        position = bisect_right(self.starts, index) - 1
        return self.files[position], int(index) - self.starts[position]


def _load(source: DataSource, key: str) -> tuple[str, Path, Dataset]:
    """The source's name for errors, its image root and its rows."""
    path, root, files = Path(source.path), None, []
    if source.path.startswith(f"{EMBEDDED_NAME}/"):
        path = embedded_folder() / source.path.removeprefix(f"{EMBEDDED_NAME}/")
    if path.is_dir():
        root, files = path, _files_of(path, source.split, key)
    elif glob.has_magic(source.path):
        files = [Path(file) for file in sorted(glob.glob(source.path))]
        if not files:
            raise UserError(f"{key}: no file matches {source.path}.")
        root = files[0].parent
    elif path.is_file():
        root, files = path.parent, [path]
    elif not _HUB_NAME.fullmatch(source.path) or path.suffix in _LOADERS:
        raise UserError(f"{key}: the data file {path} does not exist.")
    if endings := {file.suffix for file in files} - _LOADERS.keys():
        raise UserError(
            f"{key}: {path} is no data file; known endings are {', '.join(_LOADERS)}, found {', '.join(endings)}."
        )
    return str(path), _image_root(source, root, key), _read(source, path, files, key)


def load_file(file: Path, key: str) -> Dataset:
    """The rows of one file, whatever their columns. Raises UserError, with the configuration ``key``, if it is broken."""
    return _read(DataSource(path=str(file)), file, [file], key)


def _read(source: DataSource, path: Path, files: list[Path], key: str) -> Dataset:
    """The rows of ``files``, or of the hub if there are none."""
    disable_progress_bars()
    try:
        if files:
            table = load_dataset(_LOADERS[files[0].suffix], data_files=[str(file) for file in files], split="train")
        else:
            table = load_dataset(source.path, split=source.split)
    except Exception as error:  # the library wraps every parser's own exception types
        kind = "a file, a folder or a dataset on the hub" if not files else files[0].suffix[1:]
        raise UserError(f"{key}: {path} cannot be read as {kind}: {cut(str(error))}") from None
    assert not isinstance(table, DatasetDict)
    for column, feature in table.features.items():
        # Bytes and paths as they are; datasets would decode every image of a row that is only counted.
        if (plain := _undecoded(feature)) != feature:
            table = table.cast_column(column, plain)
    return table


def _undecoded(feature: Any) -> Any:
    """The same with media as their bytes and paths, however deep they lie."""
    if isinstance(feature, Image | Audio | Video):
        return type(feature)(decode=False)
    if isinstance(feature, List | LargeList):
        return type(feature)(_undecoded(feature.feature))
    if isinstance(feature, dict):
        return {name: _undecoded(inner) for name, inner in feature.items()}
    return feature


def _files_of(folder: Path, split: str, key: str) -> list[Path]:
    """The data files of a folder that belong to a split, all of one kind; images and other files are passed over."""
    for ending in _LOADERS:
        files = sorted(folder.rglob(f"*{ending}"))
        own = [file for file in files if file.name.startswith(split) or file.parent.name == split]
        if own or (files and split == "train"):
            return own or files
    raise UserError(f"{key}: the folder {folder} holds no {', '.join(_LOADERS)} file of the split {split}.")


def _image_root(source: DataSource, own: Path | None, key: str) -> Path:
    if source.image_root is None:
        # Rows of the hub bring their images along; a path among them is refused where it is read.
        return own if own is not None else Path(source.path)
    root = embedded_folder() if source.image_root == EMBEDDED_NAME else Path(source.image_root)
    if not root.is_dir():
        raise UserError(f"{key}: image_root {root} is no folder.")
    return root
