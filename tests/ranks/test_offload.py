"""fsdp2 with shards on the host: the same to the bit as without, in all stages, and after a stop."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule

import callbacks
from prism_pl.runs.checkpoint import newest_checkpoint
from tests.modules.aligning import metrics
from tests.modules.fits import fit
from tests.modules.small_stages import write
from tests.ranks.matrix import PROBE, align, all_stages, small, write_cases
from tests.ranks.test_zero import start, under, weights

STRATEGIES = {"kept": "fsdp2", "moved": "fsdp2_offload"}
CHECKPOINTING = {"gradient_checkpointing": True, "offload_activations": True}


def assert_equal(one: Path, two: Path) -> None:
    """Weights and metrics of two runs of alignment, to the bit; but a resumed one probes its engine once more."""
    expected, given = weights(one), weights(two)
    assert expected.keys() == given.keys()
    assert [key for key, tensor in expected.items() if not torch.equal(tensor, given[key])] == []
    found = [metrics(run) for run in (one, two)]
    own, other = ({s: {k: v for k, v in line.items() if "probe_gap" not in k} for s, line in m.items()} for m in found)
    assert own == other


@pytest.mark.ranks
@pytest.mark.parametrize("name", ["align", "others"])
def test_nothing_depends_on_where_shards_are(tmp_path: Path, name: str) -> None:
    """Both networks, a reference, a probe's network, clipping, and checkpointed layers whose inputs go to the host."""
    if name == "align":
        case = align("DedicatedExpertsDiscriminator", PROBE, policy=CHECKPOINTING, discriminator=CHECKPOINTING)
        case["model"]["init_args"] |= {"kl_weight": 0.1, "export_dtype": "float32"}
        cases = {"align": case}
    else:
        cases = all_stages(tmp_path) | {f"small-{key}": case for key, case in small(tmp_path).items()}
        assert "rlvr" in cases
    both = under(STRATEGIES, cases)
    write_cases(both, tmp_path)
    start(tmp_path, [f"{name}:{name}" for name in both]).finish()
    for name in cases:
        assert metrics(tmp_path / f"{name}-kept") == metrics(tmp_path / f"{name}-moved")
        assert max(metrics(tmp_path / f"{name}-kept")) == 2
    assert_equal(tmp_path / "align-kept", tmp_path / "align-moved")


@pytest.mark.ranks
def test_a_stopped_run_goes_on_to_the_bit_with_shards_on_the_host_or_not(tmp_path: Path) -> None:
    """The discriminator first learns on the fourth batch: at the checkpoint its optimizer has never stepped."""
    content = align("DenseDiscriminator")
    content["model"]["init_args"] |= {"cadence": {"discriminator_every": 4}, "export_dtype": "float32"}
    content["trainer"]["max_steps"] = 5
    cases = under(STRATEGIES, {"align": content})
    write_cases(cases, tmp_path)
    for name, case in cases.items():
        file = write(case | {"trainer": case["trainer"] | {"max_steps": 5}}, tmp_path / f"{name}.yaml")
        (tmp_path / f"{name}.arguments").write_text(
            json.dumps(["--config", str(file), "--checkpoint.every_n_train_steps=2"])
        )
    start(tmp_path, ["align-moved:whole", "align-moved:moved@3", "align-moved:kept@3"]).finish()
    for name in ("moved", "kept"):
        checkpoint = newest_checkpoint(tmp_path / name)
        assert checkpoint is not None
        assert checkpoint.name == "step=2.ckpt"
    start(tmp_path, ["align-moved:moved", "align-kept:kept"]).finish()
    assert max(metrics(tmp_path / "whole")) == 5
    for name in ("moved", "kept"):
        assert_equal(tmp_path / "whole", tmp_path / name)


def test_the_option_reaches_every_shard(tmp_path: Path) -> None:
    """Of both networks and of the reference. What moves models to their device leaves shards alone."""
    found: list[Any] = []

    class Watcher(callbacks.RunFolder):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_start(trainer, pl_module)
            networks = (pl_module.policy, pl_module.discriminator, pl_module.policy_step._reference)
            for module in (own for network in networks for own in network.modules() if isinstance(own, FSDPModule)):
                found.extend(module._get_fsdp_state()._fsdp_param_groups)

    case = align("DedicatedExpertsDiscriminator")
    case["model"]["init_args"]["kl_weight"] = 0.1
    config = write(case, tmp_path / "align.yaml")
    options = ("--trainer.accelerator=cpu", "--trainer.strategy=fsdp2_offload", "--trainer.max_steps=1")
    fit(config, tmp_path / "run", *options, run_folder=Watcher)
    assert len(found) > 20
    assert all(isinstance(group.offload_policy, CPUOffloadPolicy) for group in found)
