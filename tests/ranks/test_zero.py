"""DeepSpeed: two ranks learn what one process learns, under ZeRO-2 and ZeRO-3, in all stages, and go on where they were."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prism_pl.commands.export import export
from prism_pl.runs.checkpoint import newest_checkpoint
from tests import launchers
from tests.modules.aligning import metrics
from tests.modules.fits import fit
from tests.modules.small_stages import Content
from tests.ranks.matrix import align, all_stages, full, write_cases
from tests.ranks.test_matrix import PROGRAM, check

# Smaller parameters than DeepSpeed's default would all stay whole: the tests' model has no larger ones.
CUT = {"stage3_param_persistence_threshold": 0}


def zero(stage: int, offload: bool = False) -> Content:
    """The strategy."""
    options = {"stage": stage, "offload": offload, "zero": CUT if stage == 3 else {}}
    return {"class_path": "modules.ZeroStrategy", "init_args": options}


def under(strategies: Mapping[str, Content], cases: Mapping[str, Content]) -> dict[str, Content]:
    """Each case under each strategy, named ``case-strategy``."""
    return {
        f"{name}-{suffix}": content | {"trainer": content["trainer"] | {"strategy": strategy}}
        for suffix, strategy in strategies.items()
        for name, content in cases.items()
    }


def start(folder: Path, runs: list[str], ranks: int = 2, stop_after: int = 0) -> launchers.Processes:
    """``case:run`` of each, one after the other."""
    options = json.dumps(["--trainer.accelerator=cpu", f"--trainer.devices={ranks}"])
    program = [*PROGRAM, str(folder), options, str(stop_after), *runs]
    tasks = launchers.slurm_tasks(ranks) if ranks > 1 else [{}]
    return launchers.Processes([(program, task) for task in tasks], folder / f"log-{ranks}-{stop_after}")


def compare(folder: Path, cases: Mapping[str, Content], suffixes: list[str]) -> None:
    """Losses and weights of ``folder/zero/case-suffix`` are those of ``folder/one/case``."""
    for suffix in suffixes:
        two = folder / suffix / "two"
        two.mkdir(parents=True)
        (folder / suffix / "one").symlink_to(folder / "one")
        for name in cases:
            (two / name).symlink_to(folder / "zero" / f"{name}-{suffix}")
        check(dict(cases), folder / suffix)


def test_losses_and_weights_of_all_stages_are_those_of_one_process(tmp_path: Path) -> None:
    cases, strategies = all_stages(tmp_path), {"2": zero(2), "3": zero(3)}
    two = under(strategies, cases)
    write_cases(cases, tmp_path)
    write_cases(two, tmp_path)
    running = start(tmp_path, [f"{name}:zero/{name}" for name in two])
    for name in cases:
        fit(tmp_path / f"{name}.yaml", tmp_path / "one" / name)
    running.finish()
    compare(tmp_path, cases, list(strategies))


@pytest.mark.ranks
def test_losses_and_weights_of_everything_are_those_of_one_process(tmp_path: Path) -> None:
    """Algorithms, discriminators, adapters, frozen parts, mixtures, rows without images; and offload."""
    cases = full(tmp_path)
    write_cases(cases, tmp_path)
    one = [*PROGRAM, str(tmp_path), "[]", "0", *(f"{name}:one/{name}" for name in cases)]
    launchers.Processes([(one, {})], tmp_path / "one-log").finish()
    strategies = {"2": zero(2), "3": zero(3), "2-offload": zero(2, True), "3-offload": zero(3, True)}
    for suffix, strategy in strategies.items():
        two = under({suffix: strategy}, cases)
        write_cases(two, tmp_path)
        start(tmp_path, [f"{name}:zero/{name}" for name in two]).finish()
    compare(tmp_path, cases, list(strategies))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of both models of a run."""
    found = {model: load_file(folder / model / "model.safetensors") for model in ("model", "discriminator")}
    return {f"{model}.{name}": tensor for model, own in found.items() for name, tensor in own.items()}


def resumable(folder: Path, stages: Mapping[str, Content]) -> dict[str, Content]:
    """Alignment of five updates with a checkpoint after the second and the fourth.

    The discriminator first learns on the fourth batch: at the first checkpoint its optimizer has never stepped.
    """
    content = align("DenseDiscriminator")
    content["model"]["init_args"] |= {"cadence": {"discriminator_every": 4}, "export_dtype": "float32"}
    cases = under(stages, {"align": content})
    write_cases(cases, folder)
    for name, own in cases.items():
        own["trainer"]["max_steps"] = 5
        (folder / f"{name}.yaml").write_text(json.dumps(own))
        arguments = ["--config", str(folder / f"{name}.yaml"), "--checkpoint.every_n_train_steps=2"]
        (folder / f"{name}.arguments").write_text(json.dumps(arguments))
    return cases


def test_a_run_that_was_stopped_goes_on_to_the_bit_and_its_checkpoint_exports_the_model(tmp_path: Path) -> None:
    cases = resumable(tmp_path, {"2": zero(2), "3": zero(3)})
    start(tmp_path, [f"{name}:whole/{name}" for name in cases]).finish()
    start(tmp_path, [f"{name}:broken/{name}" for name in cases], stop_after=3).finish()
    for name in cases:
        checkpoint = newest_checkpoint(tmp_path / "broken" / name)
        assert checkpoint is not None
        assert checkpoint.name == "step=2.ckpt"
        # Reading executes nothing, and needs neither DeepSpeed nor its number of ranks.
        exported = export(str(tmp_path / "broken" / name), str(tmp_path / "exported" / name))
        assert [path.name for path in exported] == ["model", "discriminator"]
        shutil.copytree(tmp_path / "broken" / name, tmp_path / "on-one" / name)
    start(tmp_path, [f"{name}:broken/{name}" for name in cases]).finish()
    for name in cases:
        expected, found = weights(tmp_path / "whole" / name), weights(tmp_path / "broken" / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
        assert metrics(tmp_path / "whole" / name).keys() == metrics(tmp_path / "broken" / name).keys() == {1, 2, 3, 4, 5}
    # Another number of ranks, and another strategy: names and numbers are those of a single device.
    name = "align-3"
    content: dict[str, Any] = cases[name]
    del content["trainer"]["strategy"]
    (tmp_path / f"{name}.yaml").write_text(json.dumps(content))
    fit(tmp_path / f"{name}.yaml", tmp_path / "on-one" / name, "--checkpoint.every_n_train_steps=2")
    expected, found = weights(tmp_path / "whole" / name), weights(tmp_path / "on-one" / name)
    assert max(float((found[key] - tensor).abs().max()) for key, tensor in expected.items()) < 1e-4
