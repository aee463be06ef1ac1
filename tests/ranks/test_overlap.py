"""Two ranks with an engine's process each, one batch ahead, learn what one process learns that way."""

from pathlib import Path

import pytest

from tests.modules.test_overlap import PROCESS
from tests.ranks.matrix import align, rlvr
from tests.ranks.test_matrix import compare_with_one

pytestmark = pytest.mark.ranks


def test_losses_and_weights_are_those_of_one_process(tmp_path: Path) -> None:
    """Groups that are replaced are asked for between the batches that are ahead."""
    cases = {"rlvr": rlvr(tmp_path, "DAPO"), "align": align("DenseDiscriminator")}
    for content in cases.values():
        rollout = content["trainer"]["callbacks"][0]["init_args"]
        rollout |= {"engine": PROCESS, "overlap": 1}
        content["model"]["init_args"]["reuse"] = {}
    compare_with_one(cases, tmp_path)
