"""Stages are what fits have left; their order, ancestry and titles come from the graph, or else from their configs."""

import shutil
from pathlib import Path

import pytest

from prism_pl.report.collect import collect
from prism_pl.report.stages import find_stages
from prism_pl.runs.graph import write_graph
from tests.prism_pl.report.fake_run import POLICIES, branched_run, recorded, write_stage

BRANCHES = {"base": None, "sft": "base", "direct": "sft", "warmup": "sft", "align": "sft", "rlvr": "align"}


def stages_without_graph(folder: Path, policies: dict[str, str | None]) -> Path:
    for name in reversed(policies):
        write_stage(folder / name, [], policy=policies[name])
    return folder


def test_a_graph_gives_order_ancestry_and_titles(tmp_path: Path) -> None:
    found = find_stages(branched_run(tmp_path), [])
    assert {stage.name: stage.policy for stage in found} == BRANCHES
    assert [stage.name for stage in found] == list(BRANCHES)
    assert [stage.title for stage in found] == [
        "base", "SFT", "RLVR without alignment", "warm-up", "aligned", "RLVR after alignment",
    ]  # fmt: skip
    assert [stage.phase for stage in found if stage.kind == "align"] == ["alignment"]
    assert len({stage.colour for stage in found}) == len(found)


def test_folders_without_a_graph_say_themselves_who_starts_from_whom(tmp_path: Path) -> None:
    found = find_stages(stages_without_graph(tmp_path / "demo", BRANCHES), [])
    # By kind, and among equals each after its policy or by name.
    assert [stage.name for stage in found] == ["base", "sft", "warmup", "align", "direct", "rlvr"]
    assert {stage.name: stage.policy for stage in found} == BRANCHES


def test_the_old_run_of_four_stages_keeps_its_titles(tmp_path: Path) -> None:
    found = find_stages(stages_without_graph(tmp_path / "demo", {"sft": None, **POLICIES}), [])
    assert [(stage.title, stage.policy) for stage in found] == [
        ("SFT", None), ("warm-up", "sft"), ("aligned", "sft"), ("RLVR", "align"),
    ]  # fmt: skip


def test_given_titles_stand_and_equal_ones_are_told_apart_by_name(tmp_path: Path) -> None:
    for name in ("rlvr", "rlvr_dapo", "direct", "sft_more"):
        write_stage(tmp_path / name, [])
    branched_run(tmp_path / "other")
    for name in ("sft", "align"):
        shutil.move(tmp_path / "other" / name, tmp_path / name)
    write_graph(
        tmp_path,
        [
            recorded("sft", None), recorded("sft_more", "sft"), recorded("align", "sft"), recorded("rlvr", "align"),
            recorded("rlvr_dapo", "align"), recorded("direct", "sft_more", title="Demonstrations & RLVR"),
        ],
    )  # fmt: skip
    missing: list[str] = []
    assert [stage.title for stage in find_stages(tmp_path, missing)] == [
        "SFT", "sft more", "aligned", "RLVR after alignment (rlvr)", "RLVR after alignment (rlvr_dapo)",
        "Demonstrations & RLVR",
    ]  # fmt: skip
    assert missing == []


def test_what_is_no_stage_is_left_out_and_what_is_gone_is_named(tmp_path: Path) -> None:
    branched_run(tmp_path)
    # A stage that a pipeline set aside, a filter's folder, and a stage that the graph does not know.
    shutil.copytree(tmp_path / "align", tmp_path / "align.1")
    (tmp_path / "filter").mkdir()
    shutil.move(tmp_path / "direct", tmp_path / "by_hand")
    missing: list[str] = []
    assert [stage.name for stage in find_stages(tmp_path, missing)] == ["base", "sft", "warmup", "align", "rlvr", "by_hand"]
    assert missing == [f"Stage direct is missing: there is no {tmp_path / 'direct' / 'config.yaml'}."]


def test_ends_are_the_last_rlvr_of_the_first_line_with_and_without_alignment(tmp_path: Path) -> None:
    run = collect(branched_run(tmp_path))
    assert [stage.name for stage in run.ends] == ["direct", "rlvr"]
    assert [stage.name for stage in run.line(run.stages["rlvr"])] == ["rlvr", "align", "sft", "base"]
    # A second RLVR that goes on from the first, and a second line without alignment, which the charts leave out.
    write_stage(tmp_path / "rlvr_on", [], [])
    write_stage(tmp_path / "direct_too", [], [])
    policies = {**BRANCHES, "rlvr_on": "rlvr", "direct_too": "sft"}
    write_graph(tmp_path, [recorded(name, policy) for name, policy in policies.items()])
    run = collect(tmp_path)
    assert [stage.name for stage in run.ends] == ["direct", "rlvr_on"]
    assert [stage.name for stage in run.shown] == ["base", "sft", "direct", "align", "rlvr", "rlvr_on"]


@pytest.mark.parametrize("kept", [("sft",), ("sft", "align")])
def test_a_run_without_rlvr_shows_all_it_has(tmp_path: Path, kept: tuple[str, ...]) -> None:
    branched_run(tmp_path / "whole")
    for name in kept:
        shutil.move(tmp_path / "whole" / name, tmp_path / "part" / name)
    run = collect(tmp_path / "part")
    assert (run.ends, [stage.name for stage in run.drawn]) == ([], list(kept))
