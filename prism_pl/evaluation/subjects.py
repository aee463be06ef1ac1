"""What is evaluated: models, each with the name that tables call it, and sets of questions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prism_pl.data.files import DataFile, DataSource
from prism_pl.errors import UserError, nearest
from prism_pl.evaluation.benchmarks import SEVEN, Benchmark
from prism_pl.evaluation.benchmarks.opening import open_benchmark
from prism_pl.evaluation.published import benchmark as published_name
from prism_pl.hub import holds_discriminator, policy_folder
from prism_pl.ranges import PositiveInt
from prism_pl.runs.files import stage_identity
from prism_pl.runs.graph import check_distinct, read_graph

MODEL_FOLDER = "model"
"""Where a stage leaves its model."""
_NAME = re.compile(r"[\w@][\w.@+ -]*(/[\w@][\w.@+ -]*)*")
"""A name is a folder's, too."""
_SET_ASIDE = re.compile(r".+\.\d+")
"""What a run kept of a stage that it redid."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """A model, or all of a run."""

    path: str
    """A model folder, a name on the hub, a stage's folder, or a run's: then each stage that has left a model."""
    name: str | None = None
    """As the table calls it; null takes it from the path. A run's stages get theirs after a slash."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Questions with answers that no stage trains on."""

    path: str | DataSource | None = None
    """A data file in any schema that stages read, or how to read one. Of a benchmark its folder; null is the one of its
    name in ``data/``."""
    benchmark: str | None = None
    """One of the paper's seven (MathVista, MathVerse, MathVision, WeMath, MMMU, MMMU-Pro, HallusionBench), in the schema
    that it has on the hub."""
    name: str | None = None
    """As the table calls it; null takes the benchmark's or the file's. One of the seven brings the published figures."""
    group: str | None = None
    """The column that is equal in questions that are not independent, such as several about one problem; a benchmark brings
    its own."""
    num_prompts: PositiveInt | None = None
    """The first so many rows; null is all."""
    max_new_tokens: PositiveInt | None = None
    """Length limit of a response; null is the paper's for a benchmark, else the command's."""


@dataclass(frozen=True)
class Subject:
    """One model with its name."""

    name: str
    path: str
    identity: str | None
    """Of the finished stage that made it; another training of the stage has another."""


@dataclass(frozen=True)
class OpenSet:
    """One set with its rows."""

    name: str
    data: DataFile = field(repr=False)
    options: EvaluationSet
    benchmark: Benchmark | None = None

    def groups(self, rows: Sequence[int]) -> dict[int, str]:
        """The group of each row; without a column for it each row is its own."""
        column = "group" if self.benchmark else self.options.group
        if column is None:
            return {row: self.data.source(row) for row in rows}
        values = self.data.table.select_columns([column])
        # Empty in a benchmark's row that has no others.
        return {row: str(values[row][column]) or self.data.source(row) for row in rows}

    def max_new_tokens(self, default: int) -> int:
        """Length limit of a response: the set's own, else the benchmark's, else ``default``."""
        return self.options.max_new_tokens or (self.benchmark.max_new_tokens if self.benchmark else default)


def find_models(models: Sequence[str | EvaluatedModel]) -> list[Subject]:
    """Raises UserError for a folder that holds no model, and for a name that is not a folder's or is given twice."""
    found: list[Subject] = []
    for model in models:
        own = EvaluatedModel(path=model) if isinstance(model, str) else model
        folder = Path(own.path)
        if not folder.is_dir() or (folder / "config.json").exists():
            stage = folder.parent if folder.name == MODEL_FOLDER else folder
            found.append(_subject(own.name or _short(stage), own.path, stage))
        elif (folder / MODEL_FOLDER).is_dir():
            found.append(_subject(own.name or _short(folder), str(folder / MODEL_FOLDER), folder))
        elif stages := _stages(folder):
            run = own.name or folder.name
            found += [_subject(f"{run}/{stage.name}", str(stage / MODEL_FOLDER), stage) for stage in stages]
        else:
            raise UserError(
                f"models: {own.path} is no model folder, no stage's and no run's: there is no config.json, no "
                f"{MODEL_FOLDER}/ and no stage that has left a {MODEL_FOLDER}/ in it."
            )
    return found


def open_sets(sets: Sequence[EvaluationSet]) -> list[OpenSet]:
    """Raises UserError for a set that cannot be read, lacks its group's column, or has a name that is no folder's."""
    found = []
    for one in sets:
        benchmark = None if one.benchmark is None else _find_benchmark(one.benchmark)
        if benchmark is not None:
            data = open_benchmark(benchmark, one.path, f"sets: {benchmark.name}")
            name = one.name or benchmark.name
        elif one.path is not None:
            data = DataFile.open(one.path, "sets: path")
            name = one.name or Path(data.name).stem
        else:
            raise UserError("sets: a set needs a `path`, or one of the paper's seven as `benchmark`.")
        if "/" in name:
            raise UserError(f"sets: {name!r} cannot be a set's name, as it has a slash. Give another `name`.")
        check_name(name, "sets")
        if benchmark is not None and one.group is not None:
            raise UserError(f"sets: {name}: group: {benchmark.name} brings its own; leave it out.")
        if one.group is not None and one.group not in data.table.column_names:
            known = ", ".join(data.table.column_names)
            raise UserError(f"sets: {name}: group: there is no column {one.group!r}; the columns are {known}.")
        found.append(OpenSet(name, data, one, benchmark))
    check_distinct([one.name for one in found], "sets", "name")
    if not found:
        raise UserError("sets: the list is empty, so there is nothing to ask.")
    return found


def _find_benchmark(name: str) -> Benchmark:
    known = published_name(name)
    if known is None:
        raise UserError(
            f"sets: benchmark: {name!r} is none of the paper's seven, {', '.join(SEVEN)}.{nearest(name, list(SEVEN))}"
        )
    return SEVEN[known]


def check_name(name: str, key: str) -> None:
    """Raises UserError for a name that cannot be a folder's."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{key}: {name!r} cannot be a name, which is a folder's, too. Give another `name`.")


def _subject(name: str, path: str, stage: Path) -> Subject:
    check_name(name, "models")
    if Path(path).is_dir():
        policy_folder(path, "models")
    return Subject(name, path, stage_identity(stage))


def _short(folder: Path) -> str:
    """The last two parts of a path: run and stage, or a hub's organisation and model."""
    return "/".join(part for part in folder.parts[-2:] if part not in ("/", "..", ".", "runs"))


def _stages(run: Path) -> list[Path]:
    """The stages of a run that have left a policy: in the order of its graph, or of their names if it has none."""
    order = [stage.name for stage in read_graph(run) or ()]
    models = [folder for folder in run.glob(f"*/{MODEL_FOLDER}") if (folder / "config.json").exists()]
    stages = [folder.parent for folder in models if not holds_discriminator(folder)]
    kept = [stage for stage in stages if (stage.name in order if order else not _SET_ASIDE.fullmatch(stage.name))]
    return sorted(kept, key=lambda stage: (order.index(stage.name) if order else 0, stage.name))
