"""``ddp``: two ranks with whole networks learn what one process learns, and go on where they were stopped."""

from pathlib import Path

import pytest

from tests.ranks.matrix import all_stages, small
from tests.ranks.test_matrix import compare_with_one
from tests.ranks.test_zero import check_resuming


@pytest.mark.parametrize("name", ["stages", pytest.param("small", marks=pytest.mark.ranks)])
def test_losses_and_weights_are_those_of_one_process(tmp_path: Path, name: str) -> None:
    """``small`` has adapters, frozen parts, a probe's own discriminator and a rank without images."""
    cases = {"stages": all_stages, "small": small}[name](tmp_path)
    compare_with_one(cases, tmp_path, ["--trainer.strategy=ddp", "--trainer.accelerator=cpu"])


@pytest.mark.ranks
def test_a_stopped_run_goes_on_to_the_bit_and_its_checkpoint_needs_no_strategy(tmp_path: Path) -> None:
    check_resuming(tmp_path, "ddp")
