"""The run's folder: resumed files are cut to the checkpoint, the finished models are written, the stage is marked done."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import lightning as L

from callbacks.export import write_models
from prism_pl.run_files import drop_after, finish


class RunFolder(L.Callback):
    """On by itself in every run.

    A stage that ends writes each of its models as a complete Hugging Face folder (``model/``, in alignment also
    ``discriminator/``), then ``finished.json`` last: a folder with that file is whole.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero and trainer.global_step:
            for name in ("metrics.jsonl", "samples.jsonl", "health.jsonl"):
                drop_after(Path(trainer.default_root_dir) / name, trainer.global_step)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        # Not on_train_end, which Lightning leaves out when a resumed run has no update left to do.
        folder = Path(trainer.default_root_dir)
        write_models(trainer, pl_module, folder)
        if trainer.is_global_zero:
            finish(folder, trainer.global_step, _commit())
            # A finished stage hands over its models; the checkpoints, several times their size, have served.
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        trainer.strategy.barrier("finished")


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
