"""What a run holds of the machine after each update."""

import json
import os
from pathlib import Path
from typing import Any

import lightning as L
import psutil


class Measure(L.Callback):
    """A line an update, ``held.jsonl``: resident MiB of this process and its children, and its open files."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        own = psutil.Process()
        processes = [own, *own.children(recursive=True)]
        line = {
            "step": trainer.global_step,
            "mib": sum(process.memory_info().rss for process in processes) / 2**20,
            "files": len(os.listdir("/proc/self/fd")),
            "threads": own.num_threads(),
        }
        with (Path(trainer.default_root_dir) / "held.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
