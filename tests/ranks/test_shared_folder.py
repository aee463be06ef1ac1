"""Two nodes with one folder between them, as on a cluster's shared disk."""

from pathlib import Path

import pytest

from tests import launchers
from tests.command_line import finish
from tests.modules.aligning import arguments, assert_same_metrics, start, wait_for
from tests.modules.small_stages import scripted, write

pytestmark = pytest.mark.ranks


def test_two_nodes_set_one_finished_run_aside_and_resume_from_one_checkpoint(tmp_path: Path) -> None:
    config = write(scripted(), tmp_path / "align.yaml")
    finish(start(config, tmp_path / "one", data__batch_size="4"))
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "finished.json").write_text("{}")
    node = arguments(config, shared, data__batch_size="4")
    running = launchers.torchrun([node, node], tmp_path / "first", dynamic=True)
    wait_for(lambda: running.alive, shared, 3)
    running.kill()
    assert (tmp_path / "shared.1" / "finished.json").read_text() == "{}"
    assert not (shared / "finished.json").exists()
    again = launchers.torchrun([node, node], tmp_path / "again", dynamic=True)
    again.finish()
    assert sum(log.read_text().count("Resuming from") for log in again.logs) == 1
    assert (shared / "finished.json").exists()
    assert not (tmp_path / "shared.2").exists()
    assert_same_metrics(tmp_path / "one", shared)
