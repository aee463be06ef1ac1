"""The tasks for lmms-eval: they ask and score as ``evaluate`` does; with lmms-eval itself where its folder is there."""

import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from prism_pl.data.reading import SYSTEM_PROMPT
from prism_pl.evaluation import lmms_eval_tasks
from prism_pl.evaluation.benchmarks import SEVEN
from tests.command_line import own_environment
from tests.prism_pl.evaluation.benchmarks.made import MADE, Row, write
from tests.prism_pl.evaluation.benchmarks.recorded_server import RecordedServer
from tests.responses import MALFORMED, respond

TASKS = Path(lmms_eval_tasks.__file__).parent
LMMS_EVAL = Path("build/lmms_eval").absolute()
INSTALL = "pip install --no-deps --target build/lmms_eval -r environment/lmms_eval.txt"


class Loader(yaml.SafeLoader):
    """Reads ``!function`` as lmms-eval does: a name in a module."""


def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    module, _, name = str(loader.construct_scalar(node)).rpartition(".")
    return getattr(importlib.import_module(module), name)


Loader.add_constructor("!function", function)
CONFIGS = {file.stem: yaml.load(file.read_text(), Loader) for file in sorted(TASKS.glob("*.yaml"))}
BENCHMARKS = {
    "prism_mathvista": "MathVista", "prism_mathverse": "MathVerse", "prism_mathvision": "MathVision",
    "prism_wemath": "WeMath", "prism_mmmu": "MMMU", "prism_mmmu_pro_standard": "MMMU-Pro",
    "prism_mmmu_pro_vision": "MMMU-Pro", "prism_hallusion_bench": "HallusionBench",
}  # fmt: skip


def decoded(row: Row) -> Row:
    """As lmms-eval hands a row over."""
    return {
        name: Image.open(io.BytesIO(value["bytes"])) if isinstance(value, dict) and "bytes" in value else value
        for name, value in row.items()
    }


def rows_of(task: str) -> list[tuple[Row, str | None]]:
    """Those of the files that a task names."""
    config = CONFIGS[task]
    (pattern,) = config["dataset_kwargs"]["data_files"].values()
    _, _, inner = pattern.removeprefix("data/").partition("/")
    files = MADE[BENCHMARKS[task]].files
    own = [name for name in files if Path("x", name).match(inner)]
    return [pair for name in own for pair in files[name]]


@pytest.mark.parametrize("task", CONFIGS)
def test_a_task_asks_and_scores_as_evaluate_does(task: str) -> None:
    config, benchmark = CONFIGS[task], SEVEN[BENCHMARKS[task]]
    assert (config["task"], config["test_split"]) == (task, benchmark.split)
    assert config["generation_kwargs"] == {
        "max_new_tokens": benchmark.max_new_tokens, "temperature": 1.0, "top_p": 0.7, "do_sample": True,
    }  # fmt: skip
    items: dict[str, list[Any]] = {}
    for row, said in rows_of(task):
        doc = decoded(row)
        system, user = config["doc_to_messages"](doc)
        assert system["content"] == [{"type": "text", "text": SYSTEM_PROMPT}]
        *images, text = user["content"]
        assert (
            text
            == {"type": "text", "text": config["doc_to_text"](doc)}
            == {"type": "text", "text": benchmark.read(row).question}
        )
        assert [own["url"].mode for own in images] == ["RGB"] * len(benchmark.read(row).images)
        result = config["process_results"](doc, [MALFORMED if said is None else respond(answer=said)])
        assert result.keys() == {own["metric"] for own in config["metric_list"]}
        for name, item in result.items():
            items.setdefault(name, []).append(item)
    found = {own["metric"]: own["aggregation"](items[own["metric"]]) for own in config["metric_list"]}
    made = MADE[benchmark.name]
    part = {"prism_mmmu_pro_standard": "standard", "prism_mmmu_pro_vision": "vision"}.get(task)
    assert found.pop("accuracy") == pytest.approx(made.sub_scores[part] if part else made.accuracy)
    # One response of each benchmark is malformed, but for MMMU-Pro.
    count = len(items["format"])
    assert found.pop("format") == pytest.approx(1 if part else (count - 1) / count)
    assert found == pytest.approx({name: made.sub_scores[name] for name in found})


def test_every_benchmark_has_its_tasks() -> None:
    assert set(BENCHMARKS) == set(CONFIGS)
    assert set(BENCHMARKS.values()) == set(SEVEN)


SCRIPT = """
import json, sys
from lmms_eval import evaluator
from lmms_eval.tasks import TaskManager
found = evaluator.simple_evaluate(
    model="openai", model_args=f"model_version=policy,base_url={sys.argv[1]},num_concurrent=4",
    tasks=sys.argv[3].split(","), task_manager=TaskManager(include_path=sys.argv[2], include_defaults=False),
    log_samples=False, bootstrap_iters=0,
)
numbers = {task: {k: v for k, v in own.items() if isinstance(v, float)} for task, own in found["results"].items()}
print("RESULTS", json.dumps(numbers))
"""


@pytest.mark.skipif(not LMMS_EVAL.is_dir(), reason=f"lmms-eval is not there: {INSTALL}")
def test_lmms_eval_itself_gives_the_scores_computed_by_hand(tmp_path: Path) -> None:
    for name in ("WeMath", "HallusionBench"):
        write(name, tmp_path / "data")
    server = RecordedServer()
    environment = own_environment() | {
        "PYTHONPATH": os.pathsep.join([str(LMMS_EVAL), str(Path.cwd())]), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        "OPENAI_API_KEY": "none",
    }  # fmt: skip
    with server.serving():
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, server.url, str(TASKS), "prism_wemath,prism_hallusion_bench"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULTS"))
    found = json.loads(line.removeprefix("RESULTS"))
    for task, figures in (("prism_wemath", ("strict", "loose")), ("prism_hallusion_bench", ("qAcc", "fAcc"))):
        made = MADE[BENCHMARKS[task]]
        assert found[task]["accuracy,none"] == pytest.approx(made.accuracy)
        for figure in figures:
            assert found[task][f"{figure},none"] == pytest.approx(made.sub_scores[figure])
    assert {body["max_tokens"] for body in server.bodies} == {49_152, 8_192}
    assert {(body["temperature"], body["top_p"]) for body in server.bodies} == {(1.0, 0.7)}
