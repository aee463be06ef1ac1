"""Lightning's way to the checkpoints of prism_pl/runs/checkpoint.py, on one device and on several."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO

from prism_pl.runs.checkpoint import Checkpoint
from prism_pl.runs.checkpoint_writer import CheckpointWriter


class CheckpointFolders(CheckpointIO):
    """A strategy with shards calls ``save_checkpoint`` on all ranks, and loads by itself."""

    def __init__(self, writer: CheckpointWriter) -> None:
        self._writer = writer

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self._writer.save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return Checkpoint(Path(path)).whole()

    def remove_checkpoint(self, path: Any) -> None:
        self._writer.remove(Path(path))
