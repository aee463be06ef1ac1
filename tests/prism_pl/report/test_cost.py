"""Cost, versions and settings against figures worked out by hand."""

import json
from pathlib import Path

from prism_pl.report import build_report
from prism_pl.report.collect import collect
from prism_pl.report.cost import cost_table, differing, differing_settings, seconds_by_step, settings_section, tokens_of
from prism_pl.report.several import label_runs, shared_stages
from tests.prism_pl.report.fake_run import write_stage

RATE = "throughput/tokens_per_second_per_device"
LINES = [
    # A step's phases stand in two lines.
    {"step": 1, "seconds/update": 2.0, RATE: 1000.0, "memory_gib/update": 3.25},
    {"step": 1, "seconds/rollout": 1.0, "memory_gib/rollout": 1.0},
    {"step": 2, "seconds/update": 2.5, RATE: 2000.0, "memory_gib/update": 3.0},
    {"step": 2, "heldout/accuracy": 0.5},
]


def test_seconds_are_summed_over_phases_and_tokens_follow_from_their_rate(tmp_path: Path) -> None:
    write_stage(tmp_path / "rlvr", LINES, [], updates=4)
    write_stage(tmp_path / "sft", [{"step": 1, "sft/loss": 1.0}], [])
    run = collect(tmp_path)
    assert seconds_by_step(run.stages["rlvr"]) == {1: 3.0, 2: 2.5}
    assert tokens_of(run.stages["rlvr"]) == 3 * 1000 + 2.5 * 2000
    assert tokens_of(run.stages["sft"]) is None
    html = cost_table(run.stages.values())
    # Half of 5.5 goes to the even number.
    cells = ["4", "2", "6", "8,000", "1,500", "3.2"]
    assert f"RLVR</th>{''.join(f'<td>{text}</td>' for text in cells)}</tr>" in html
    assert "SFT</th><td>4</td><td>0</td><td>-</td><td>-</td><td>-</td><td>-</td></tr>" in html
    (tmp_path / "sft" / "finished.json").unlink()
    assert "SFT</th><td>-</td><td>0</td>" in cost_table(collect(tmp_path).stages.values())


def test_settings_that_differ_are_named_as_on_the_command_line(tmp_path: Path) -> None:
    for name, seed, callback in (("a", 0, {"every": 20}), ("b", 1, {"every": 10, "final": 5})):
        write_stage(tmp_path / name / "sft", [], [])
        model = {"class_path": "modules.SFTModule", "init_args": {"max_tokens": 4096, "sizes": [1, 2]}}
        config = {"seed_everything": seed, "model": model}
        config["trainer"] = {"callbacks": [{"class_path": "callbacks.EvaluationCallback", "init_args": callback}]}
        # A mixture, of which an entry has no class, and one not even keys.
        config["data"] = {"path": ["a.json", {"path": "b.json", "weight": 2 + seed}, {"path": "c.json", "weight": 1}]}
        (tmp_path / name / "sft" / "config.yaml").write_text(json.dumps(config))
    (stages,) = shared_stages(label_runs([tmp_path / "a", tmp_path / "b"])).values()
    assert differing(stages) == {
        "seed_everything": {"a": "0", "b": "1"},
        "trainer.callbacks.EvaluationCallback.every": {"a": "20", "b": "10"},
        "trainer.callbacks.EvaluationCallback.final": {"a": "-", "b": "5"},
        "data.path.1.weight": {"a": "2", "b": "3"},
    }
    html = differing_settings({"sft": stages}, {"sft": "Start"})
    assert (
        '<th scope="row">Start</th><td class="text"><code>data.path.1.weight</code></td>'
        '<td class="text">a: <code>2</code><br>b: <code>3</code></td>' in html
    )


def test_versions_and_configurations_are_on_the_page(tmp_path: Path) -> None:
    write_stage(tmp_path / "sft", LINES, [])
    write_stage(tmp_path / "rlvr", LINES, [])
    mark = {"updates": 4, "commit": None, "identity": "i", "versions": {"torch": "9.8.7", "vllm": "<b>"}}
    (tmp_path / "sft" / "finished.json").write_text(json.dumps(mark))
    html = build_report(tmp_path).read_text("utf-8")
    assert "<li>SFT: torch 9.8.7, vllm &lt;b&gt;</li><li>RLVR: versions not recorded</li>" in html
    (tmp_path / "rlvr" / "finished.json").write_text(json.dumps(mark))
    assert "<li>SFT, RLVR: torch 9.8.7" in settings_section(list(collect(tmp_path).stages.values()))
    assert "<summary>SFT</summary><pre>{&quot;model&quot;: {&quot;class_path&quot;" in html


def test_the_interval_of_an_evaluation(tmp_path: Path) -> None:
    lines = [
        {"step": 1, "heldout/accuracy": 0.5, "heldout/accuracy_low": 0.25, "heldout/accuracy_high": 0.625},
        {"step": 1, "heldout/accuracy_sampled": 0.5, "heldout/accuracy_sampled_half_width": 0.125},
        {"step": 2, "heldout/accuracy_sampled": 0.75, "reward/total": 1.0},
    ]
    write_stage(tmp_path / "rlvr", lines, [])
    stage = collect(tmp_path).stages["rlvr"]
    ends = stage.interval("heldout/accuracy")
    assert ends is not None
    assert [(own.steps, own.values) for own in ends] == [((1,), (0.25,)), ((1,), (0.625,))]
    ends = stage.interval("heldout/accuracy_sampled")
    assert ends is not None
    assert [(own.steps, own.values) for own in ends] == [((1,), (0.375,)), ((1,), (0.625,))]
    assert stage.interval("reward/total") is None
