"""Two ranks whose responses are sampled ahead: in an engine's process each, and on a server that both ask."""

import importlib.util
from pathlib import Path

import pytest

from tests import launchers
from tests.modules.fits import finished_updates, fit, logged
from tests.modules.test_overlap import PROCESS, SERVER, sources
from tests.ranks.matrix import align, rlvr, write_cases
from tests.ranks.test_matrix import compare_with_one, start_on_two

pytestmark = pytest.mark.ranks

UPDATES = 8


def test_losses_and_weights_are_those_of_one_process(tmp_path: Path) -> None:
    """Groups that are replaced are asked for between the batches that are ahead."""
    cases = {"rlvr": rlvr(tmp_path, "DAPO"), "align": align("DenseDiscriminator")}
    for content in cases.values():
        rollout = content["trainer"]["callbacks"][0]["init_args"]
        rollout |= {"engine": PROCESS, "overlap": 1}
        content["model"]["init_args"]["reuse"] = {}
    compare_with_one(cases, tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
def test_whichever_groups_are_finished_first(tmp_path: Path) -> None:
    """The ranks learn from each prompt as often as one process does that waits for each batch, and none is too old."""
    cases = {"rlvr": rlvr(tmp_path, "GRPO"), "align": align("DenseDiscriminator"), "dapo": rlvr(tmp_path, "DAPO")}
    steps = f"--trainer.max_steps={UPDATES}"
    for content in cases.values():
        content["trainer"]["callbacks"][0]["init_args"] |= {"engine": {"class_path": "TransformersEngine"}}
        content["trainer"]["callbacks"].append({"class_path": "SampleLog"})
        content["model"]["init_args"]["reuse"] = {}
    write_cases(cases, tmp_path)
    for name in cases:
        fit(tmp_path / f"{name}.yaml", tmp_path / "in-turn" / name, steps)
    for content in cases.values():
        content["trainer"]["callbacks"][0]["init_args"] |= {"engine": SERVER, "overlap": 2, "order": "finished"}
    write_cases(cases, tmp_path)
    start_on_two(cases, tmp_path, (*launchers.SHARDED, steps)).finish()
    for name in cases:
        ahead, in_turn = tmp_path / "two" / name, tmp_path / "in-turn" / name
        assert finished_updates(ahead) == UPDATES
        ages = [line["rollout/staleness"] for line in logged(ahead, "rollout/staleness")]
        assert len(ages) == UPDATES
        assert all(0 <= age <= 2 for age in ages)
        assert max(ages) > 0
        if name != "dapo":
            # Which groups are of no use, and replaced, depends on the responses.
            assert sources(ahead) == sources(in_turn)
