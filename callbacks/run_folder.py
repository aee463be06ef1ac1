"""The run's folder: resumed files are cut to the checkpoint, the finished models are written, the stage is marked done."""

import json
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from callbacks.ending import LastWork
from callbacks.export import write_models
from prism_pl.contracts import Stage, require
from prism_pl.runs.files import drop_after, finish
from prism_pl.runs.folders import atomic_folder


class RunFolder(LastWork):
    """On by itself in every run.

    A stage that ends writes each of its models as a complete Hugging Face folder (``model/``, in alignment also
    ``discriminator/``), then ``finished.json`` last: a folder with that file is whole. Each checkpoint ``step=N.ckpt`` has
    the same beside it in ``step=N/``, with the run's configuration and commit.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero and trainer.global_step:
            for name in ("metrics.jsonl", "samples.jsonl", "health.jsonl"):
                drop_after(Path(trainer.default_root_dir) / name, trainer.global_step)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        run = Path(trainer.default_root_dir)
        target = run / "checkpoints" / f"step={trainer.global_step}"
        # The other ranks take part in gathering the weights and write nothing.
        with atomic_folder(target) if trainer.is_global_zero else nullcontext(target) as scratch:
            write_models(trainer, require(pl_module, Stage, "RunFolder"), scratch)
            if not trainer.is_global_zero:
                return
            shutil.copy(run / "config.yaml", scratch / "config.yaml")
            mark = {"updates": trainer.global_step, "commit": _commit()}
            (scratch / "run.json").write_text(json.dumps(mark) + "\n", encoding="utf-8")
        # Folders whose checkpoint is gone, and what a kill left.
        for folder in target.parent.iterdir():
            if folder.is_dir() and folder != target and not folder.with_name(f"{folder.name}.ckpt").exists():
                shutil.rmtree(folder)

    def finish(self, trainer: Any, pl_module: Any) -> None:
        write_models(trainer, require(pl_module, Stage, "RunFolder"), Path(trainer.default_root_dir))

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_fit_end(trainer, pl_module)
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            finish(folder, trainer.global_step, _commit())
            # A finished stage hands over its models; the checkpoints, several times their size, have served.
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        trainer.strategy.barrier("finished")


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
