"""Grids that cannot be run are refused before anything starts; folders of the others."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prism_pl.errors import UserError
from prism_pl.study.plan import Arm, Plan


@dataclass(frozen=True)
class Node:
    name: str
    inputs: dict[str, str] = field(default_factory=dict)


GRID = [Node("base"), Node("sft", {"a": "base"}), Node("warmup", {"a": "sft"}), Node("align", {"a": "sft", "b": "warmup"})]
ARMS = [Arm("SFT", "sft"), Arm("aligned", "align")]


def plan(run_dir: Path = Path("runs"), **changes: Any) -> Plan:
    given: dict[str, Any] = {"stages": GRID, "seeds": [0, 2], "shared": ["base"], "arms": ARMS, "reference": "SFT"}
    return Plan(run_dir, **(given | changes))


def test_folders_and_lineage() -> None:
    grid = plan()
    assert grid.lineage("align") == ["base", "sft", "warmup", "align"]
    assert str(grid.folder("base", 2)) == "runs/shared/base"
    assert str(grid.folder("align", 2)) == "runs/seed2/align"
    assert str(grid.measured("align", 2)) == "runs/seed2/measured/align"
    assert [grid.against(arm) for arm in ARMS] == [None, "SFT"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": [*GRID, Node("measured")]}, "stages: 'measured' cannot be a stage's name"),
        ({"stages": [*GRID, Node("x", {"data.path": "filtr"})]}, "stages: x: inputs.data.path: there is no stage 'filtr'"),
        ({"shared": ["bse"]}, "shared: there is no stage 'bse'. Did you mean base"),
        ({"shared": ["sft"]}, "shared: sft is made from base, which every seed has of its own"),
        ({"seeds": []}, "seeds: it is"),
        ({"seeds": [1, 1]}, r"seeds: it is \[1, 1\]"),
        ({"arms": []}, "arms: the list is empty"),
        ({"arms": [*ARMS, Arm("x", "rlvr")]}, "arms: x: stage: there is no stage 'rlvr'"),
        ({"arms": [*ARMS, Arm("x", "sft", "y")]}, "arms: x: against: there is no arm 'y'"),
        ({"reference": "sft"}, "reference: there is no arm 'sft'. Did you mean SFT"),
    ],
)
def test_a_mistake_is_named_with_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(**changes)


def test_shared_stages_are_shown_in_every_seed(tmp_path: Path) -> None:
    (tmp_path / "shared" / "base").mkdir(parents=True)
    (tmp_path / "shared" / "base" / "file").touch()
    for _ in range(2):
        plan(tmp_path).link_shared()
    assert (tmp_path / "seed2" / "base" / "file").exists()
    (tmp_path / "seed0" / "base").unlink()
    (tmp_path / "seed0" / "base").mkdir()
    with pytest.raises(UserError, match="seed0/base is this seed's own run"):
        plan(tmp_path).link_shared()
