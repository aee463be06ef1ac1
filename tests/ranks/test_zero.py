"""DeepSpeed: two ranks learn what one process learns, under ZeRO-2 and ZeRO-3, in all stages, and go on where they were."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prism_pl.commands.export import export
from prism_pl.runs.checkpoint import newest_checkpoint
from tests import launchers
from tests.modules.aligning import metrics
from tests.modules.fits import fit
from tests.modules.small_stages import Content, write
from tests.ranks.matrix import align, all_stages, full, rlvr, text_only, write_cases
from tests.ranks.test_matrix import PROGRAM, check

# Smaller parameters than DeepSpeed's default would all stay whole: the tests' model has no larger ones.
CUT = {"stage3_param_persistence_threshold": 0}


EVERY_SECOND = ("--checkpoint.every_n_train_steps=2",)


def zero(stage: int, offload: bool = False) -> Content:
    """The strategy."""
    options = {"stage": stage, "offload": offload, "zero": CUT if stage == 3 else {}}
    return {"class_path": "modules.ZeroStrategy", "init_args": options}


def under(strategies: Mapping[str, Content | str], cases: Mapping[str, Content]) -> dict[str, Content]:
    """Each case under each strategy, named ``case-strategy``."""
    return {
        f"{name}-{suffix}": content | {"trainer": content["trainer"] | {"strategy": strategy}}
        for suffix, strategy in strategies.items()
        for name, content in cases.items()
    }


def start(folder: Path, runs: list[str]) -> launchers.Processes:
    """``case:run`` of each on two ranks, one after the other."""
    program = [*PROGRAM, str(folder), json.dumps(["--trainer.accelerator=cpu", "--trainer.devices=2"]), "0", *runs]
    return launchers.Processes([(program, task) for task in launchers.slurm_tasks(2)], folder / "log")


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
    # Every second row is without an image: a rank without any must go through the vision tower in the others' order.
    cases["rlvr"] = rlvr(tmp_path, "GRPO", {"path": str(tmp_path / "mixture")}, text_only(tmp_path))
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


@pytest.mark.ranks
@pytest.mark.parametrize("strategy", [zero(3), zero(2)], ids=["3", "2"])
def test_a_stopped_run_goes_on_to_the_bit_and_its_checkpoint_needs_no_strategy(tmp_path: Path, strategy: Content) -> None:
    check_resuming(tmp_path, strategy)


def check_resuming(tmp_path: Path, strategy: Content | str) -> None:
    """The discriminator first learns on the fourth batch: at the checkpoint its optimizer has never stepped."""
    content = align("DenseDiscriminator")
    content["model"]["init_args"] |= {"cadence": {"discriminator_every": 4}, "export_dtype": "float32"}
    (case,) = cases = under({"two": strategy}, {"align": content})
    write_cases(cases, tmp_path)
    plain, own = dict(cases[case]), tmp_path / f"{case}.yaml"
    plain["trainer"] |= {"max_steps": 5}
    arguments = ["--config", str(write(plain, own)), *EVERY_SECOND]
    (tmp_path / f"{case}.arguments").write_text(json.dumps(arguments))
    (tmp_path / "short.arguments").write_text(json.dumps([*arguments, "--trainer.max_steps=2"]))
    start(tmp_path, [f"{case}:whole", f"{case}:broken@3", "short:short"]).finish()
    checkpoint = newest_checkpoint(tmp_path / "broken")
    assert checkpoint is not None
    assert checkpoint.name == "step=2.ckpt"
    exported = export(str(tmp_path / "broken"), str(tmp_path / "exported"))
    assert [path.name for path in exported] == ["model", "discriminator"]
    at_its_end = weights(tmp_path / "short")
    assert all(torch.equal(tensor, at_its_end[key]) for key, tensor in weights(tmp_path / "exported").items())
    shutil.copytree(tmp_path / "broken", tmp_path / "alone")
    start(tmp_path, [f"{case}:broken"]).finish()
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert expected.keys() == found.keys() == weights(tmp_path / "exported").keys()
    assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
    assert metrics(tmp_path / "whole").keys() == metrics(tmp_path / "broken").keys()
    # Another number of ranks without a strategy: names and numbers are those of a single device.
    del plain["trainer"]["strategy"]
    fit(write(plain, own), tmp_path / "alone", *EVERY_SECOND)
    found = weights(tmp_path / "alone")
    assert max(float((found[key] - tensor).abs().max()) for key, tensor in expected.items()) < 1e-4
