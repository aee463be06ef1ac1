"""The whole command on all seven benchmarks, at a server that gives recorded answers."""

import csv
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from prism_pl.command_line.catalogue import find_command
from prism_pl.command_line.configurations import with_config_folder
from prism_pl.command_line.front import parse
from prism_pl.commands.evaluate import evaluate
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.endpoint import EndpointOptions
from prism_pl.evaluation.benchmarks import SEVEN
from prism_pl.evaluation.benchmarks.base import Membership, worst
from prism_pl.evaluation.benchmarks.sub_scores import sub_scores
from prism_pl.evaluation.subjects import EvaluationSet
from prism_pl.runs.files import read_lines
from tests.command_line import run, start
from tests.modules.scripted import ScriptedEngine
from tests.prism_pl.evaluation.benchmarks.made import MADE, write
from tests.prism_pl.evaluation.benchmarks.recorded_server import RecordedServer


@pytest.fixture
def server() -> Iterator[RecordedServer]:
    server = RecordedServer()
    with server.serving():
        yield server


def results(out: Path) -> dict[str, dict[str, Any]]:
    return {result["set"]: result for result in json.loads((out / "table.json").read_text())["results"]}


def means(figures: dict[str, Any]) -> dict[str, float]:
    return {name: value["mean"] for name, value in figures.items()}


def test_recorded_answers_give_the_scores_computed_by_hand(
    tmp_path: Path, server: RecordedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [EvaluationSet(benchmark=name, path=str(write(name, tmp_path / "data"))) for name in MADE]
    endpoint = EndpointOptions(base_url=server.url, model="policy", first_wait_s=0.001)
    # The paper's sampling: one sample at temperature 1 and top-p 0.7, and for each benchmark its limit.
    evaluate(sets, str(tmp_path / "out"), max_new_tokens=96, endpoints=[endpoint], greedy=False, num_samples=1)
    found = results(tmp_path / "out")
    for name, made in MADE.items():
        assert means(found[name]["figures"])["avg@1"] == pytest.approx(made.accuracy), name
        assert means(found[name]["sub_scores"]) == pytest.approx(made.sub_scores), name
        assert found[name]["failed"] == 0
    assert len(server.seen) == sum(result["questions"] for result in found.values()) == 45
    assert {(body["temperature"], body["top_p"]) for body in server.bodies} == {(1.0, 0.7)}
    assert {body["max_tokens"] for body in server.bodies} == {one.max_new_tokens for one in SEVEN.values()}
    # The layout of the paper has the mean of all seven.
    lines = capsys.readouterr().out.splitlines()
    (row,) = (line for line in lines if line.startswith("policy") and line.endswith("measured"))
    percents = [100 * made.accuracy for made in MADE.values()]
    assert row.split()[1:-1] == [f"{value:.1f}" for value in [*percents, sum(percents) / 7]]
    # Two sets are drawn: values of 1/2 and 0, of 1/2 and 1.
    assert "policy: qAcc 0.333 [0.000, 0.500]; fAcc 0.667 [0.500, 1.000]" in lines
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    (strict,) = (row for row in rows if (row["set"], row["figure"]) == ("WeMath", "strict"))
    assert (float(strict["value"]), strict["origin"]) == (0.375, "measured")


def test_an_engine_answers_a_benchmark_as_any_set(tmp_path: Path, embedded: Path) -> None:
    sets = [EvaluationSet(benchmark="MMMU-Pro", path=str(write("MMMU-Pro", tmp_path)), max_new_tokens=60)]
    evaluate(
        sets, str(tmp_path / "out"), max_new_tokens=96, models=[EMBEDDED_NAME], engine=ScriptedEngine(), num_samples=2,
        max_prompt_tokens=4096,
    )  # fmt: skip
    result = results(tmp_path / "out")["MMMU-Pro"]
    assert (result["questions"], list(result["sub_scores"])) == (5, ["standard", "vision"])
    (settings,) = [json.loads(file.read_text()) for file in (tmp_path / "out").rglob("seed0.json")]
    assert (settings["benchmark"], settings["max_new_tokens"]) == ("MMMU-Pro", 60)


def test_a_killed_evaluation_goes_on(tmp_path: Path, server: RecordedServer) -> None:
    content = {
        "sets": [{"benchmark": "wemath", "path": str(write("WeMath", tmp_path))}],
        "endpoints": [{"base_url": server.url, "model": "policy", "concurrency": 1}],
        "greedy": False, "num_samples": 1, "max_new_tokens": 96, "out": str(tmp_path / "out"),
    }  # fmt: skip
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump(content))
    server.delay_s = 0.2
    process = start("evaluate", "--config", str(tmp_path / "eval.yaml"))
    file = tmp_path / "out" / "WeMath" / "policy" / "seed0.jsonl"
    while len(read_lines(file)) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = read_lines(file)
    assert len(kept) < 15
    server.delay_s = 0
    assert run("evaluate", "--config", str(tmp_path / "eval.yaml")) == 0
    assert read_lines(file)[: len(kept)] == kept
    # Asked once each, but for what was in flight when it was killed.
    assert len(server.counts()) == 15
    assert len(server.seen) <= 16
    assert means(results(tmp_path / "out")["WeMath"]["sub_scores"]) == pytest.approx(MADE["WeMath"].sub_scores)


def test_a_unit_counts_if_all_its_questions_have_been_answered() -> None:
    members = {
        0: [Membership("fAcc", "figure 1", "a"), Membership("all", "0")], 1: [Membership("fAcc", "figure 1", "b")],
        2: [Membership("fAcc", "figure 2", "a"), Membership("all", "2")], 3: [Membership("fAcc", "figure 2", "b")],
    }  # fmt: skip
    groups = dict.fromkeys(range(4), "set")
    # Two samples: figure 1 is right in the second. Nobody has answered row 3.
    found = sub_scores(members, {0: [1, 1], 1: [0, 1], 2: [1, 0]}, groups, worst)
    assert {name: value.mean for name, value in found.items()} == {"fAcc": (0 + 1) / 2, "all": (2 / 2 + 1 / 2) / 2}
    # One group has no interval.
    assert found["all"].low is None


def test_the_configuration_is_whole() -> None:
    options = parse(find_command("evaluate"), with_config_folder(["--config", "benchmarks.yaml"]))
    assert [own.benchmark for own in options["sets"]] == list(SEVEN)
    assert {own.path for own in options["sets"]} == {None}
    # The paper's sampling.
    assert (options["temperature"], options["top_p"], options["greedy"], options["num_samples"]) == (1.0, 0.7, False, 1)
