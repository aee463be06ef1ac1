"""The graph of stages: which is made from which. What is wrong with it is found before anything runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from prism_pl.errors import UserError, nearest
from prism_pl.runs.files import write_atomically

_FILE = "graph.json"


class Node(Protocol):
    """What the graph must know of a stage."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class RecordedStage:
    """A stage as the run's folder remembers it."""

    name: str
    command: str
    inputs: dict[str, str]
    """Configuration key to the stage that it takes."""
    title: str | None
    """What the report calls its model; None leaves that to the report."""


def write_graph(folder: Path, stages: Sequence[RecordedStage]) -> None:
    """Records the stages of a run's folder in their order, for the report."""
    write_atomically(folder / _FILE, json.dumps({"stages": [asdict(stage) for stage in stages]}, indent=2) + "\n")


def read_graph(folder: Path) -> list[RecordedStage] | None:
    """None for a folder whose stages were run one by one, or by a version that recorded no graph."""
    if not (folder / _FILE).exists():
        return None
    return [RecordedStage(**line) for line in json.loads((folder / _FILE).read_text(encoding="utf-8"))["stages"]]


def check_graph(stages: Sequence[Node]) -> None:
    """Raises UserError for two stages of one name, names that are no folder's, inputs from no stage, and circles."""
    names = [stage.name for stage in stages]
    check_distinct(names, "stages", "name")
    for stage in stages:
        if Path(stage.name).name != stage.name or stage.name.startswith("."):
            raise UserError(f"stages: {stage.name!r} cannot be a stage's name, which is its folder's, too. Take another.")
        for key, source in stage.inputs.items():
            check_known(source, names, f"stages: {stage.name}: inputs.{key}", "stage")
    for name in names:
        # Follows every path once, and so finds circles.
        lineage(stages, name)


def lineage(stages: Sequence[Node], name: str) -> list[str]:
    """A stage and all that it is made from, directly or not, each after its own inputs. Raises UserError for a circle."""
    by_name = {stage.name: stage for stage in stages}
    found: list[str] = []

    def visit(own: str, path: tuple[str, ...]) -> None:
        if own in path:
            raise UserError(f"stages: {' <- '.join((*path[path.index(own) :], own))} wait for one another.")
        if own not in found:
            for source in by_name[own].inputs.values():
                visit(source, (*path, own))
            found.append(own)

    visit(name, ())
    return found


def check_distinct(names: Sequence[str], key: str, field: str) -> None:
    """Raises UserError if two of what ``key`` lists have the same ``field``."""
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise UserError(f"{key}: two have the {field} {doubled!r}. Give one another.")


def check_known(name: str, names: Sequence[str], key: str, kind: str) -> None:
    """Raises UserError with the nearest name if ``key`` names what is not there."""
    if name not in names:
        raise UserError(f"{key}: there is no {kind} {name!r}.{nearest(name, names)} Known are {', '.join(names)}.")
