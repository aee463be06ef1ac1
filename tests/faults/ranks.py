"""Runs whose processes are forks of one that has imported everything: what a start costs is the run's own.

They are processes like any other, leaders of their sessions, and find each other as under SLURM.
"""

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import datasets  # noqa: F401 (here and below: imported for all starts)
import torch
import transformers  # noqa: F401

import callbacks  # noqa: F401
import datamodules  # noqa: F401
import modules  # noqa: F401
import prism_pl.cli  # noqa: F401
import tests.modules.poison
import tests.modules.scripted  # noqa: F401
from prism_pl.ranks import CHECK_VARIABLE
from tests.launchers import slurm_tasks

_LIMIT = 1800
"""Seconds; only a hang lasts longer."""


def _fit(arguments: list[str], environment: dict[str, str], log: str) -> None:
    os.setsid()
    os.environ.update(environment)
    torch.set_num_threads(1)
    with open(log, "ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    from prism_pl.__main__ import _stage_command
    from prism_pl.command_line.front import run

    sys.argv = ["prism_pl", "fit", *arguments]
    run(sys.argv[1:], _stage_command)


class Ranks:
    """One ``fit`` on ``count`` processes.

    Args:
        arguments: of the command line.
        log: of all processes.
        count: of processes; the strategy is among the arguments if there are several.
    """

    def __init__(self, arguments: Sequence[str], log: Path, count: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.ranks"])
        options = [*arguments, "--trainer.accelerator=cpu", f"--trainer.devices={count}"]
        alone: list[dict[str, str]] = [{}]
        tasks = slurm_tasks(count) if count > 1 else alone
        self.log = log
        self.processes = [
            context.Process(target=_fit, args=(options, task | {CHECK_VARIABLE: "1"}, str(log)), daemon=True)
            for task in tasks
        ]
        for process in self.processes:
            process.start()

    @property
    def alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def kill(self) -> None:
        """kill -9 of all of them, at once."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def signal(self, number: int, ranks: Sequence[int]) -> None:
        """Sends a signal to some of them; one that has ended already is none the worse for it."""
        for rank in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.processes[rank].pid or 0, number)

    def wait(self) -> list[int | None]:
        """The exit codes, after all have ended."""
        end = time.monotonic() + _LIMIT
        try:
            for process in self.processes:
                process.join(end - time.monotonic())
                assert not process.is_alive(), self.told()
        finally:
            self.kill()
        return [process.exitcode for process in self.processes]

    def finish(self) -> None:
        """Waits until all have ended well."""
        codes = self.wait()
        assert not any(codes), (codes, self.told())

    def told(self) -> str:
        """The end of what they have said."""
        return self.log.read_text()[-3000:]
