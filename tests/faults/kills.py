"""An alignment run on two processes that is killed again and again, and the same run left alone."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from prism_pl.runs.checkpoint import Checkpoint
from prism_pl.runs.files import read_lines
from tests.faults.ranks import Ranks
from tests.modules.aligning import arguments, write_config

_UPDATES_A_START = 2
"""Between two kills a run gets at most so far, and is killed in the middle of the next update."""
EVERY = 2
"""Updates between two checkpoints."""


def config_of(folder: Path) -> Path:
    """Both networks learn, past responses are replayed, every response is logged."""
    path = write_config(folder)
    content = yaml.safe_load(path.read_text())
    content["trainer"]["callbacks"] += [{"class_path": "SampleLog"}, {"class_path": "HealthAlarm"}]
    content["model"]["init_args"]["export_dtype"] = "float32"
    path.write_text(yaml.safe_dump(content))
    return path


class Killed:
    """The same run, alone and killed ``kills`` times.

    Args:
        folder: of everything.
        strategy: of the two processes.
        kills: how often; one of them comes after the last update.
        seed: of their moments.
    """

    def __init__(self, folder: Path, strategy: str, kills: int, seed: int) -> None:
        self.folder, self.kills = folder, kills
        self.random = random.Random(seed)
        self.updates = _UPDATES_A_START * kills + 2
        self.options = {
            "trainer__max_steps": str(self.updates),
            "trainer__strategy": strategy,
            "trainer__enable_progress_bar": "false",
            "checkpoint__every_n_train_steps": str(EVERY),
            "data__batch_size": "4",
            "model__cadence__discriminator_every": "2",
        }
        self.config = config_of(folder)
        self.startup = self.update = 0.0
        """Seconds to the first update, and from one to the next."""
        self.redone = 0

    def run_alone(self) -> None:
        """To its end, with a look at the clock."""
        began, running = time.monotonic(), self.start("whole")
        self._wait(running, lambda: self.done("whole") >= 1)
        self.startup = time.monotonic() - began
        running.finish()
        self.update = (time.monotonic() - began - self.startup) / self.updates

    def run_killed(self) -> None:
        """Every start but the last ends with a kill -9 of all its processes; then every checkpoint is read."""
        print(f"a start takes {self.startup:.1f} s to its first update, an update {self.update:.2f} s", flush=True)
        for number in range(self.kills):
            last = number == self.kills - 1
            further = self.updates if last else self.random.randint(0, _UPDATES_A_START)
            # Without a further update: anywhere in the start.
            share = self.random.random()
            delay = share * (self.update if further else self.startup)
            before = self.done("killed")
            target = min(self.updates, before + further)
            running = self.start("killed", number)
            if further:
                self._wait(running, lambda target=target: self.done("killed") >= target or self._ended())
            time.sleep(delay)
            running.kill()
            reached = self.done("killed")
            checkpoints = self.check_checkpoints()
            print(
                f"kill {number + 1}: {delay:5.2f} s after {f'update {target}' if further else 'its start'}; then at "
                f"{reached}, checkpoints {checkpoints}, finished {self._ended()}", flush=True,
            )  # fmt: skip
            self.redone += reached - max(checkpoints, default=0)
            if self._ended():
                return
        self.start("killed", self.kills).finish()

    def check_checkpoints(self) -> list[int]:
        """Reads every checkpoint that has its name, whole."""
        found = [*(self.folder / "killed" / "checkpoints").glob("step=*.ckpt")]
        for path in found:
            # Lightning's counter in it is the one in its name.
            assert Checkpoint(path).whole()["global_step"] == int(path.stem.split("=")[1])
        # However often the run was resumed: the newest, and the one before it while that is not complete.
        assert len(found) <= 2, found
        return sorted(int(path.stem.split("=")[1]) for path in found)

    def done(self, name: str) -> int:
        """Updates that a run has logged."""
        return max((line["step"] for line in read_lines(self.folder / name / "metrics.jsonl")), default=0)

    def _ended(self) -> bool:
        return (self.folder / "killed" / "finished.json").exists()

    def start(self, name: str, number: int = 0) -> Ranks:
        """On two processes."""
        return Ranks(arguments(self.config, self.folder / name, **self.options), self.folder / f"{name}-{number}.log", 2)

    def _wait(self, running: Ranks, reached: Callable[[], bool]) -> None:
        while not reached():
            assert running.alive, running.told()
            time.sleep(0.02)


def timeless(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics without what depends on the clock, and without the proof of the engine, which a resume
    repeats."""
    clock = ("seconds/", "per_second", "probe_gap", "throughput/")
    return [
        {key: value for key, value in line.items() if not any(part in key for part in clock)}
        for line in read_lines(folder / "metrics.jsonl")
    ]
