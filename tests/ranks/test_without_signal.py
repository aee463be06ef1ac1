"""One rank of three has nothing to learn from: the others do not wait, and the figures are those of one process."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from datamodules.order import OrderedBatches
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import Mixture
from prism_pl.data.row_checks import Requirements, usable_mixture
from prism_pl.runs.files import read_lines
from tests import launchers
from tests.modules.aligning import assert_same_metrics, metrics
from tests.modules.small_stages import Content, rewarded, scripted, write

pytestmark = pytest.mark.ranks

RANKS, BATCH, UPDATES = 3, 6, 2


def third_ranks_prompts(embedded: Path, file: str, needed: str) -> list[list[str]]:
    """The sources of the third rank's prompts, by batch."""
    rows = usable_mixture(
        Mixture.open(f"embedded/digits/{file}", "test"), PromptEncoder("embedded/digits", 64), Requirements((needed,))
    )
    batches = zip(OrderedBatches(rows, BATCH, 0, 2, RANKS), range(UPDATES), strict=False)
    return [[f"{embedded.relative_to(Path.cwd())}/{file}:{row + 1}" for row in batch] for batch, _ in batches]


def evaluation(config: str) -> Content:
    """Four prompts for three ranks, before the first update and after the last."""
    callbacks: list[Any] = yaml.safe_load((Path("configs") / config).read_text())["trainer"]["callbacks"]
    own = next(callback for callback in callbacks if callback["class_path"] == "EvaluationCallback")
    own["init_args"] |= {"every": 0, "num_prompts": 4, "num_final": 4, "max_new_tokens": 60, "keep_best": False}
    return own


def zero_advantages(folder: Path, embedded: Path) -> Content:
    """All rewards of the third rank are 0."""
    sources = [source for batch in third_ranks_prompts(embedded, "rlvr.jsonl", "answer") for source in batch]
    content = rewarded(folder, {"class_path": "SampleLog"}, dead=f"source in {sources}")
    content["model"]["init_args"]["reuse"] = {"mini_batches": 1}
    return content


def nothing_well_formed(folder: Path, embedded: Path) -> Content:
    """All responses of the third rank are malformed, and there are two past prompts for three."""
    sources = [source for batch in third_ranks_prompts(embedded, "align.jsonl", "teacher") for source in batch]
    silent = {"class_path": "tests.ranks.silent.SilentEngine", "init_args": {"sources": sources}}
    content = scripted({"class_path": "SampleLog"}, evaluation("align.yaml"), engine=silent)
    content["model"]["init_args"] |= {
        "policy": {"path": "embedded/digits"},
        "discriminator": {"class_path": "DenseDiscriminator"},
        "discriminator_loss": {"in_batch_weight": 1.0, "r1_weight": 0.1},
        "replay": {"prompts_per_update": 2},
    }
    return content


def no_prompt_left(folder: Path, embedded: Path) -> Content:
    """Two further prompts are drawn for three ranks to replace one group."""
    first, second = third_ranks_prompts(embedded, "rlvr.jsonl", "answer")
    dead = f"source in {[first[0], *second]}"
    content = rewarded(folder, {"class_path": "SampleLog"}, evaluation("rlvr.yaml"), dead=dead)
    content["model"]["init_args"] |= {"reuse": {"mini_batches": 1}, "algorithm": {"class_path": "DAPO"}}
    return content


CASES = {"zero-advantages": zero_advantages, "nothing-well-formed": nothing_well_formed, "no-prompt-left": no_prompt_left}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, embedded: Path) -> Path:
    """Each case on one process and on three, in four processes."""
    folder = tmp_path_factory.mktemp("signal")
    for name, case in CASES.items():
        own = folder / name
        own.mkdir()
        content = case(own, embedded)
        content["trainer"] |= {"max_steps": UPDATES, "logger": False, "enable_progress_bar": False}
        content["data"]["init_args"]["batch_size"] = BATCH
        config = write(content, own / "config.yaml")
        (folder / f"{name}.arguments").write_text(json.dumps(["--config", str(config)]))
    program = [sys.executable, "-m", "tests.ranks.several_fits", str(folder)]
    one, three = ([f"{name}:{name}/{kind}" for name in CASES] for kind in ("one", "three"))
    launchers.Processes([([*program, "[]", "0", *one], {})], folder / "one-log").finish()
    sharded = json.dumps([*launchers.SHARDED, f"--trainer.devices={RANKS}"])
    tasks = launchers.slurm_tasks(RANKS)
    launchers.Processes([([*program, sharded, "0", *three], task) for task in tasks], folder / "three-log").finish()
    return folder


@pytest.mark.parametrize("case", CASES)
def test_three_ranks_log_what_one_process_logs(runs: Path, case: str) -> None:
    one, three = runs / case / "one", runs / case / "three"
    assert max(metrics(one)) == UPDATES
    assert_same_metrics(one, three)
    told = [[(s["step"], s["source"], s["response"]) for s in read_lines(run / "samples.jsonl")] for run in (one, three)]
    assert told[0] == told[1]
    assert len(told[0]) == UPDATES * BATCH * 4


def test_one_rank_was_really_without(runs: Path) -> None:
    """What the three cases are about has happened."""
    # A third of all groups, and no other.
    assert metrics(runs / "zero-advantages" / "three")[1]["advantage/zero_std_groups"] == pytest.approx(1 / 3)
    # Three of four responses of two thirds of the prompts.
    aligned = metrics(runs / "nothing-well-formed" / "three")
    assert aligned[1]["format_rate"] == pytest.approx(0.5)
    assert "replay/reward_gap/perception" in aligned[2]
    # Six prompts and two more, of which the third rank has none.
    assert metrics(runs / "no-prompt-left" / "three")[1]["rollout/prompts_sampled"] == 8
    for case in ("nothing-well-formed", "no-prompt-left"):
        assert len(read_lines(runs / case / "three" / "heldout.jsonl")) == 4
