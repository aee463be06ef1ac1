"""The tables of two arms over two seeds and two prompts, by hand."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from prism_pl.drift import Ranged
from prism_pl.study.collect import ArmResult, Measured
from prism_pl.study.figure import svg
from prism_pl.study.figures import OF_PROMPTS
from prism_pl.study.table import csv_rows, markdown, paired


def measured(name: str, *greedy: float) -> Measured:
    of_prompts = {figure: tuple(greedy) for figure in OF_PROMPTS}
    mean = sum(greedy) / len(greedy)
    return Measured(Path(name), ("file:1", "file:2"), of_prompts, dict.fromkeys(OF_PROMPTS, mean), 70, 12.5, {})


ARMS = [
    ArmResult("without", "direct", None, {0: measured("a", 0.0, 0.0), 1: measured("b", 1.0, 1.0)}),
    ArmResult("with", "rlvr", "without", {0: measured("c", 0.5, 0.5), 1: measured("d", 1.0, 1.0)}),
]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_an_arm_a_row() -> None:
    lines = markdown(ARMS, []).splitlines()
    # Seeds 0 and 1: mean 0.5, and the interval's ends are the seeds themselves.
    assert cells(lines[4])[:3] == ["without", "2", "0.500 [0.000, 1.000]"]
    assert cells(lines[5])[:3] == ["with", "2", "0.750 [0.500, 1.000]"]
    assert cells(lines[5])[-2:] == ["70", "12"]


def test_distances_stand_above_their_floor() -> None:
    run = ARMS[0].runs[0]
    own = replace(run, figures=run.figures | {"tv_length": 0.5}, floors={"tv_length": Ranged(mean=0.1, low=0.0, high=0.25)})
    lines = markdown([ArmResult("own", "x", None, {0: own})], []).splitlines()
    header = next(line for line in lines if "tv_length" in line)
    column = cells(header).index("tv_length")
    first, second = lines[lines.index(header) + 2 : lines.index(header) + 4]
    assert (cells(first)[0], cells(first)[column]) == ("own", "0.500")
    assert (cells(second)[0], cells(second)[column]) == ("teachers, half against half", "0.100 [0.000, 0.250]")
    # Without floors there is no such row.
    assert not any("teachers, half" in line for line in markdown(ARMS, []).splitlines() if line.startswith("|"))


def test_the_difference_is_paired() -> None:
    row = next(line for line in markdown(ARMS, []).splitlines() if line.startswith("| with | without"))
    # Seed by seed +0.5 and 0: mean 0.25 in [0, 0.5], above in one of two. Unpaired the interval would reach below 0.
    assert cells(row)[2:5] == ["2", "+0.250 [+0.000, +0.500]", "1/2"]
    own, other = ARMS[1].values("greedy", [0, 1]), ARMS[0].values("greedy", [0, 1])
    assert paired(own, own).high == 0.0
    assert paired(own, other).mean == pytest.approx(0.25)


def test_only_common_seeds_are_compared() -> None:
    short = ArmResult("short", "x", "without", {1: measured("e", 0.0, 0.0)})
    text = markdown([*ARMS, short], ["short, seed 0: failed."])
    row = next(line for line in text.splitlines() if line.startswith("| short | without"))
    # Only seed 1, where the other has 1.
    assert cells(row)[2:5] == ["1", "-1.000 [-1.000, -1.000]", "0/1"]
    assert "short, seed 0: failed." in text
    assert "over prompts alone and says nothing of other seeds: short." in text


def test_csv_holds_every_run() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_rows(ARMS))))
    assert [(row["arm"], row["seed"], row["greedy"], row["updates"]) for row in rows] == [
        ("without", "0", "0.0", "70"), ("without", "1", "1.0", "70"),
        ("with", "0", "0.5", "70"), ("with", "1", "1.0", "70"),
    ]  # fmt: skip
    assert rows[0]["tv_length"] == ""


def test_the_figure_names_the_arms() -> None:
    figure = svg([*ARMS, ArmResult("never run", "x", None, {})])
    assert ">without<" in figure
    assert ">with<" in figure
    assert "never run" not in figure
    assert svg(ARMS) == svg(ARMS)
