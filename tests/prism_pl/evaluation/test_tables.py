"""Published rows, the paper's layout, JSON and CSV; and which models and sets a configuration means."""

import csv
import json
from pathlib import Path
from statistics import mean

import pytest

from prism_pl.errors import UserError
from prism_pl.evaluation.comparison import compare
from prism_pl.evaluation.figures import figures
from prism_pl.evaluation.published import BENCHMARKS, PUBLISHED, published
from prism_pl.evaluation.results import Compared, Evaluation, Result
from prism_pl.evaluation.subjects import EvaluatedModel, EvaluationSet, find_models, open_sets
from prism_pl.evaluation.table import text
from prism_pl.runs.files import finish
from prism_pl.runs.graph import RecordedStage, write_graph
from tests.prism_pl.evaluation.test_figures import SAMPLED, outcome

# The averages of the paper's own table.
AVERAGES = {
    "Instruct": (59.7, 63.3), "SFT": (56.8, 58.1), "SFT+GRPO": (61.8, 63.3), "SFT+DAPO": (63.2, 65.2),
    "SFT+GSPO": (61.6, 63.3), "PRISM, aligned": (57.2, 59.3), "PRISM+GRPO": (66.2, 69.3), "PRISM+DAPO": (66.3, 68.9),
    "PRISM+GSPO": (65.8, 68.7),
}  # fmt: skip


def evaluation(*names: str) -> Evaluation:
    weak = [outcome(number, 0, *SAMPLED[1].samples) for number in (1, 2, 3, 4)]
    results = [
        Result(model, name, 4, 0, figures(found, [8]), {0: 0.5})
        for model, found in (("sft", weak), ("rlvr", SAMPLED))
        for name in names
    ]
    found = compare(SAMPLED, weak, [8])
    assert found is not None
    return Evaluation(results, [Compared("rlvr", "sft", name, found) for name in names])


def test_the_published_rows_have_the_papers_averages() -> None:
    for row, values in PUBLISHED.items():
        size, _, kind = row.removeprefix("Qwen3-VL-").partition(" ")
        assert mean(values) == pytest.approx(AVERAGES[kind][size == "8B"], abs=0.051), row
    assert len(PUBLISHED) == 2 * len(AVERAGES)
    assert published(["MMMU", "MathVista"])["Qwen3-VL-4B PRISM+GRPO"] == [64.1, 77.9]


def test_a_set_of_ones_own_has_no_published_rows() -> None:
    own = evaluation("test")
    assert own.benchmarks == {}
    assert "published" not in text(own) + own.csv()
    assert own.record({})["published"]["rows"] == {}
    lines = text(own).splitlines()
    assert lines[0] == "test"
    columns = "model questions failed greedy avg@4 pass@4 format truncated tokens within 8"
    assert " ".join(lines[1].split()) == columns
    # The samples of four questions: 1.75 / 4, 14 / 16, 2 / 16, 112 / 16, 4 / 16.
    (row,) = (line for line in lines if line.startswith("rlvr  "))
    assert " 0.438 [" in row
    assert row.split()[-4:] == ["0.875", "0.125", "7.0", "0.250"]
    (difference,) = (line for line in lines if line.startswith("rlvr against sft, 4 questions: "))
    # Three of four are gained: 2 / 8.
    assert "greedy +0.750 [" in difference
    assert difference.endswith("greedy: 3 gained, 0 lost, McNemar's p 0.25")


def test_a_benchmark_brings_the_published_rows() -> None:
    own = evaluation("math_vista", "test", "MMMU-Pro")
    lines = text(own).splitlines()
    (header,) = (line for line in lines if "Avg" in line)
    assert header.split() == ["MathVista", "MMMU-Pro", "Avg"]
    rows = {line.rsplit(None, 4)[0]: line.split()[-4:] for line in lines if line.endswith(("measured", "published"))}
    # Two of seven have no average that could stand beside the paper's.
    assert rows["rlvr"] == ["43.8", "43.8", "-", "measured"]
    assert rows["Qwen3-VL-8B PRISM+GRPO"] == ["78.3", "53.3", "-", "published"]
    assert len(rows) == 2 + len(PUBLISHED)
    by_origin = list(csv.DictReader(own.csv().splitlines()))
    (cell,) = (r for r in by_origin if r["model"] == "Qwen3-VL-4B SFT" and r["set"] == "math_vista")
    assert (cell["value"], cell["origin"]) == ("0.715", "published")
    read = json.loads(json.dumps(own.record({"seeds": [0]})))
    assert read["published"]["rows"]["Qwen3-VL-4B SFT"] == [71.5, 42.8]
    assert read["comparisons"][0]["p_value"] == 0.25
    assert read["results"][0]["figures"]["greedy"]["mean"] == 0
    everything = text(evaluation(*BENCHMARKS)).splitlines()
    (row,) = (line for line in everything if line.startswith("Qwen3-VL-4B PRISM+GRPO"))
    assert row.split()[-2:] == ["66.2", "published"]


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_models_are_folders_hub_names_stages_and_runs(tmp_path: Path) -> None:
    run = tmp_path / "demo"
    for stage in ("rlvr", "sft", "align", "sft.1"):
        model(run / stage / "model")
    # A warm-up's model is its discriminator.
    (model(run / "warmup" / "model") / "config.json").write_text('{"prism_discriminator": {}}')
    finish(run / "sft", 3, None)
    write_graph(run, [RecordedStage(name, "fit", {}, None) for name in ("sft", "warmup", "align", "rlvr")])
    names = [str(run), str(run / "rlvr"), "Qwen/Qwen3-VL-4B-Instruct"]
    found = find_models([*names[:1], EvaluatedModel(path=names[1], name="mine"), *names[2:]])
    # In the graph's order, without what was set aside and what has no policy.
    assert [own.name for own in found] == ["demo/sft", "demo/align", "demo/rlvr", "mine", "Qwen/Qwen3-VL-4B-Instruct"]
    assert [own.path for own in found[:4]] == [str(run / s / "model") for s in ("sft", "align", "rlvr", "rlvr")]
    assert found[4].path == names[2]
    # Trained anew, the same folder is another model.
    assert [own.identity is None for own in found] == [False, True, True, True, True]
    assert find_models([str(run / "align" / "model")])[0].name == "demo/align"
    # Stages that were run one by one are in the order of their names.
    (run / "graph.json").unlink()
    assert [own.name for own in find_models([str(run)])] == ["demo/align", "demo/rlvr", "demo/sft"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no model folder, no stage's and no run's"):
        find_models([str(tmp_path / "empty")])
    with pytest.raises(UserError, match="is a discriminator, which scores responses and gives none"):
        find_models([str(run / "warmup")])
    with pytest.raises(UserError, match="cannot be a name"):
        find_models([EvaluatedModel(path=names[1], name="../mine")])


def test_sets_and_their_groups(tmp_path: Path) -> None:
    rows = [{"question": "1 + 1?", "answer": "2", "problem": 7}, {"question": "1 + 2?", "answer": "3", "problem": 7}]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row | {"problem_index": row.pop("problem")}) + "\n" for row in rows))
    alone, grouped = open_sets(
        [EvaluationSet(path=str(file)), EvaluationSet(path=str(file), name="by problem", group="problem_index")]
    )
    assert (alone.name, grouped.name) == ("sums", "by problem")
    assert alone.groups([0, 1]) == {0: f"{file}:1", 1: f"{file}:2"}
    assert grouped.groups([1]) == {1: "7"}
    for wrong, message in (
        ([EvaluationSet(path=str(file), group="problm")], "no column 'problm'; the columns are "),
        ([EvaluationSet(path=str(file)), EvaluationSet(path=str(file))], "two have the name 'sums'"),
        ([EvaluationSet(path=str(file), name="a/b")], "has a slash"),
        ([], "the list is empty"),
    ):
        with pytest.raises(UserError, match=message):
            open_sets(wrong)
