"""500 updates of the two games: memory, open files and threads stay what they were."""

import os
from pathlib import Path

import numpy as np
import pytest

from prism_pl.runs.files import read_lines
from tests.faults.kills import config_of
from tests.faults.ranks import Ranks
from tests.modules.aligning import arguments
from tests.modules.small_stages import Content, rewarded, write

pytestmark = pytest.mark.faults

UPDATES = int(os.environ.get("PRISM_TEST_UPDATES", "500"))
AFTER = 50
"""Updates in which caches and pools may grow."""
MEASURE: Content = {"class_path": "tests.faults.measuring.Measure"}


def align(folder: Path) -> list[str]:
    """Both networks and the replay buffer; a checkpoint every 20 updates."""
    import yaml

    file = config_of(folder)
    content = yaml.safe_load(file.read_text())
    content["trainer"]["callbacks"].append(MEASURE)
    options = {"trainer__max_steps": str(UPDATES), "checkpoint__every_n_train_steps": "20"}
    options |= {"model__cadence__discriminator_every": "2", "trainer__enable_progress_bar": "false"}
    return arguments(write(content, file), folder / "run", **options)


def rlvr(folder: Path) -> list[str]:
    content = rewarded(folder, {"class_path": "SampleLog"}, MEASURE)
    content["trainer"] |= {"max_steps": UPDATES, "enable_progress_bar": False}
    content["data"]["init_args"]["batch_size"] = 2
    return ["--config", str(write(content, folder / "rlvr.yaml")), f"--run_dir={folder / 'run'}"]


@pytest.mark.parametrize("game", [align, rlvr], ids=["align", "rlvr"])
def test_nothing_grows_over_hundreds_of_updates(tmp_path: Path, game: object) -> None:
    assert callable(game)
    Ranks(game(tmp_path), tmp_path / "log", 1).finish()
    lines = [line for line in read_lines(tmp_path / "run" / "held.jsonl") if line["step"] > AFTER]
    assert lines[-1]["step"] == UPDATES
    step, mib, files, threads = (np.array([line[key] for line in lines]) for key in ("step", "mib", "files", "threads"))
    slope = float(np.polyfit(step, mib, 1)[0])
    print(f"{slope:.4f} MiB an update, {mib[0]:.0f} to {mib[-1]:.0f}; files {files.min()} to {files.max()}")
    assert slope < 0.1
    # A checkpoint in the background has some open; it leaves none.
    tenth = len(lines) // 10
    assert np.median(files[-tenth:]) <= np.median(files[:tenth])
    assert np.median(threads[-tenth:]) <= np.median(threads[:tenth])
