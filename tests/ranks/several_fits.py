"""Many small fits one after the other in one process, or in each of several: importing costs more than they do.

FOLDER OPTIONS STOP_AFTER NAME:RUN ...: each NAME.arguments of the folder, into its folder RUN. NAME:RUN@N stops after N.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import callbacks
from tests.command_line import run


class StopError(Exception):
    """The run ends as by a failure."""


class Stopper(callbacks.RunFolder):
    """Stops every rank before the batch after so many updates; never at 0."""

    after = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.after and trainer.global_step == self.after:
            raise StopError


def main() -> None:
    folder, options, after, names = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    torch.set_num_threads(1)
    for name in names:
        print("case", name, flush=True)
        case, _, target = name.partition(":")
        target, _, own = target.partition("@")
        Stopper.after = int(own or after)
        arguments = [*json.loads((folder / f"{case}.arguments").read_text()), f"--run_dir={folder / target}", *options]
        with suppress(StopError):
            assert run("fit", *arguments, run_folder=Stopper) == 0, name


if __name__ == "__main__":
    main()
