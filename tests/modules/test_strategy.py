"""Two processes share one run."""

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from datamodules.order import OrderedBatches
from prism_pl.commands.export import export
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import Mixture
from prism_pl.data.row_checks import Requirements, usable_mixture
from prism_pl.runs.checkpoint import newest_checkpoint
from prism_pl.runs.files import read_lines
from tests import launchers
from tests.command_line import finish
from tests.modules.aligning import arguments, assert_same_metrics, metrics, start, write_config
from tests.modules.small_stages import rewarded, scripted, write


def test_two_processes_killed_and_resumed_on_two_nodes_give_the_losses_of_one(tmp_path: Path) -> None:
    """Started by Lightning, killed while a checkpoint is written in the background, and continued from the older one by two
    torchruns: the second "node" has a disk of its own, on which there is nothing to resume from."""
    config = write_config(tmp_path)
    common = {"data__batch_size": "4"}
    finish(start(config, tmp_path / "one", **common))
    program = "tests.modules.slow_checkpoints"
    running = launchers.lightning(arguments(config, tmp_path / "two", **common), tmp_path / "lightning", program=program)
    checkpoints = tmp_path / "two" / "checkpoints"
    while not (checkpoints / ".step=4.ckpt" / "half").exists():
        assert running.alive, running.logs[0].read_text()[-3000:]
        time.sleep(0.02)
    running.kill()
    assert not (tmp_path / "two" / "finished.json").exists()
    # The older one is kept until the newer is whole. At that update the discriminator's optimizer has no state yet.
    assert sorted(path.name for path in checkpoints.iterdir()) == [".step=4.ckpt", "step=2.ckpt"]
    assert newest_checkpoint(tmp_path / "two") == checkpoints / "step=2.ckpt"
    models = export(str(tmp_path / "two"), str(tmp_path / "exported"))
    assert [folder.name for folder in models] == ["model", "discriminator"]
    for folder in models:
        own, other = (load_file(path / "model.safetensors") for path in (folder, checkpoints / "step=2.ckpt" / folder.name))
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)
    # A finished run that lies there is none of the second rank's business.
    (tmp_path / "another_disk").mkdir()
    (tmp_path / "another_disk" / "finished.json").write_text("{}")
    nodes = [arguments(config, tmp_path / folder, **common) for folder in ("two", "another_disk")]
    launchers.torchrun(nodes, tmp_path / "torchrun").finish()
    assert "Resuming from" in (tmp_path / "torchrun.0.log").read_text()
    assert (tmp_path / "another_disk" / "finished.json").read_text() == "{}"
    assert not (tmp_path / "another_disk.1").exists()
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert sorted(one) == sorted(two) == [1, 2, 3, 4, 5]
    keys = ["policy/loss", "policy/gradient_norm", "policy/entropy", "response/tokens"]
    keys += ["in_batch/reward_gap/perception", "score/teacher_reasoning"]
    for step in one:
        # The fifth step's scores are those after the discriminator's first step.
        for key in [*keys, "discriminator/gradient_norm"] if step == 4 else keys:
            assert two[step][key] == pytest.approx(one[step][key], abs=1e-4), (step, key)
    assert abs(one[5]["score/teacher_reasoning"] - one[4]["score/teacher_reasoning"]) > 1e-3


@pytest.mark.ranks
def test_a_process_without_any_signal_has_the_metrics_of_one_process(tmp_path: Path, embedded: Path) -> None:
    """In the first batch both groups that teach anything are the first process's: the second is dealt one of them. In the
    second batch only one group does, so one process has no row to train on, and nothing to log of any.

    Started as SLURM does, in a folder with a finished run, which one of the two must set aside.
    """
    source = f"{embedded.relative_to(Path.cwd())}/rlvr.jsonl"
    rows = usable_mixture(
        Mixture.open("embedded/digits/rlvr.jsonl", "test"), PromptEncoder("embedded/digits", 64), Requirements(("answer",))
    )
    first, second = (
        [own for own, _ in zip(OrderedBatches(rows, 4, 0, rank, 2), range(2), strict=False)] for rank in (0, 1)
    )
    dead = {f"{source}:{row + 1}" for row in (*second[0], *second[1], first[1][1])}
    content = rewarded(tmp_path, {"class_path": "SampleLog"}, dead=f"source in {dead}")
    content["model"]["init_args"]["reuse"] = {"mini_batches": 1}
    config = write(content, tmp_path / "rlvr.yaml")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "finished.json").write_text("{}")
    common = ["--config", str(config), "--trainer.max_steps=2", "--data.batch_size=4"]
    launchers.alone([*common, f"--run_dir={tmp_path / 'one'}"], tmp_path / "alone").finish()
    launchers.slurm([*common, f"--run_dir={tmp_path / 'two'}"], tmp_path / "slurm").finish()
    assert (tmp_path / "two.1" / "finished.json").exists()
    assert not (tmp_path / "two.2").exists()
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [one[step]["advantage/zero_std_groups"] for step in (1, 2)] == [0.5, 0.75]
    # Half of all and a quarter, but for those that have just their group's mean.
    assert 0.25 < one[1]["policy/trained_responses"] <= 0.5
    assert 0.1 < one[2]["policy/trained_responses"] <= 0.25
    # One minus a process's tokens over the most, a mean over both: it would be 0.5 in the first batch, too.
    assert two[1]["packing/idle_share"] < 0.1
    assert two[2]["packing/idle_share"] == pytest.approx(0.5)
    assert_same_metrics(tmp_path / "one", tmp_path / "two")
    # Every response of both processes, each once and in the order of the batch.
    told = [
        [(line["step"], line["source"], line["response"]) for line in read_lines(tmp_path / name / "samples.jsonl")]
        for name in ("one", "two")
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 2 * 4 * 4


@pytest.mark.ranks
def test_what_is_replayed_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    """Three past prompts for two processes, which one torchrun has started."""
    config = write(scripted(), tmp_path / "align.yaml")
    options = {
        "data__batch_size": "4",
        "model__replay__prompts_per_update": "3",
        "model__cadence__discriminator_every": "1",
    }
    finish(start(config, tmp_path / "one", **options))
    launchers.torchrun([arguments(config, tmp_path / "two", **options)], tmp_path / "torchrun", per_node=2).finish()
    one = metrics(tmp_path / "one")
    assert [step for step in one if "replay/reward_gap/perception" in one[step]] == [2, 3, 4, 5]
    assert max(one) == 5
    assert_same_metrics(tmp_path / "one", tmp_path / "two")
