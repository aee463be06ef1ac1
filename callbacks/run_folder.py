"""The run's folder: resumed files are cut to the checkpoint, the finished models are written, the stage is marked done."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from callbacks.checkpoint_folders import CheckpointFolders
from callbacks.ending import LastWork
from callbacks.export import write_models
from prism_pl.commands.export import write_exports
from prism_pl.contracts import Stage, require
from prism_pl.errors import UserError
from prism_pl.runs.checkpoint import Checkpoint, split
from prism_pl.runs.checkpoint_writer import CheckpointWriter, refuse_nonfinite
from prism_pl.runs.files import cut_back, finish, lengths, write_atomically


class RunFolder(LastWork):
    """On by itself in every run.

    A stage that ends writes each of its models as a complete Hugging Face folder (``model/``, in alignment also
    ``discriminator/``), then ``finished.json`` last: a folder with that file is whole. Each checkpoint, the folder
    ``checkpoints/step=N.ckpt``, gets the same, with the run's configuration and commit. It is written in the background.
    """

    _writer: CheckpointWriter | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._run = Path(trainer.default_root_dir)
        self._writer = CheckpointWriter(self._complete)
        trainer.strategy.checkpoint_io = CheckpointFolders(self._writer)
        checkpoints = trainer.checkpoint_callback
        self._keeps_one = checkpoints is not None and checkpoints.save_top_k == 1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            for unfinished in (self._run / "checkpoints").glob(".step=*"):
                shutil.rmtree(unfinished)
            self._drop_before(trainer.global_step)
            self._own = _identity(self._run)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # The first rank's is written.
        checkpoint["logs"] = lengths(self._run)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if "logs" not in checkpoint:
            raise UserError(
                f"run_dir: the checkpoint in {self._run} was made by an earlier version of the program. Resume with that "
                f"one, or start anew in another folder."
            )
        if trainer.is_global_zero:
            cut_back(self._run, checkpoint["logs"])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.is_global_zero and _identity(self._run) != self._own:
            raise UserError(
                f"run_dir: {self._run} was removed or replaced while the run was writing to it, and its checkpoints with "
                f"it. The run ends at update {trainer.global_step}; what is there now was written after that. Bring the "
                f"folder back to go on from its newest checkpoint, or remove what is left and start anew."
            )

    def _complete(self, checkpoint: Path) -> None:
        """What makes a checkpoint more than a place to resume from. In the background: it looks at files alone."""
        saved = Checkpoint(checkpoint)
        write_exports(self._run, saved, checkpoint)
        shutil.copy(self._run / "config.yaml", checkpoint / "config.yaml")
        mark = {"updates": saved.rest["checkpoint"]["global_step"], "commit": _commit()}
        write_atomically(checkpoint / "run.json", json.dumps(mark) + "\n")
        self._drop_before(mark["updates"])

    def _drop_before(self, step: int) -> None:
        """Removes older checkpoints, unless all are to be kept.

        Lightning never removes the one that a run has resumed from, and one that a kill has kept it from removing it does
        not know: each resume would cost the room of a checkpoint.
        """
        for folder in (self._run / "checkpoints").glob("step=*.ckpt") if self._keeps_one else ():
            if int(folder.stem.split("=")[1]) < step:
                shutil.rmtree(folder)

    def finish(self, trainer: Any, pl_module: Any) -> None:
        assert self._writer is not None
        self._writer.wait()
        refuse_nonfinite(split({"state_dict": trainer.strategy.lightning_module_state_dict()})[0], self._run)
        write_models(trainer, require(pl_module, Stage, "RunFolder"), self._run)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        # Another part may have failed before this one was set up.
        if self._writer is not None:
            self._writer.settle()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_fit_end(trainer, pl_module)
        assert self._writer is not None
        # Lightning may have started the last one after ``finish``.
        self._writer.wait()
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero:
            finish(folder, trainer.global_step, _commit())
            # A finished stage hands over its models; the checkpoints, several times their size, have served.
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        trainer.strategy.barrier("finished")


def _identity(folder: Path) -> tuple[int, int] | None:
    """Of a folder on its disk: another one under the same name has another."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
