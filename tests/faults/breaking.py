"""What breaks a run in its middle: a callback that does it to the machine, and engines that fail."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import psutil
import torch

import callbacks
from prism_pl.engines import TransformersEngine
from prism_pl.types import Prompt, Response, SamplingOptions
from tests.command_line import own_environment
from tests.modules.scripted import ScriptedEngine


class Break(L.Callback):
    """Does one thing, once.

    Args:
        what: a function of this module.
        target: its argument.
        after: updates before it.
        at_end: when the batch of the next update has been learnt from, not before its rollouts.
    """

    def __init__(self, what: str, target: str = "", after: int = 2, at_end: bool = False) -> None:
        self.what: Callable[[str, Any], None] | None = globals()[what]
        self.target, self.after, self.at_end = target, after, at_end

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not self.at_end and trainer.global_step == self.after:
            self._do(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.at_end and trainer.global_step == self.after + 1:
            self._do(pl_module)

    def _do(self, module: Any) -> None:
        if self.what is not None:
            self.what(self.target, module)
        self.what = None


def fill(target: str, module: Any) -> None:
    """Leaves no room on the disk of the file, once what is being written in the background is whole."""
    for callback in module.trainer.callbacks:
        if isinstance(callback, callbacks.RunFolder) and callback._writer is not None:
            callback._writer.wait()
    with open(target, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def fill_but(target: str, module: Any) -> None:
    """Leaves 256 KiB there: a few lines, and no checkpoint."""
    fill(target, module)
    os.truncate(target, os.path.getsize(target) - 2**18)


def fit_again(target: str, _: Any) -> None:
    """A second run with these arguments, in a process of its own."""
    arguments = json.loads(target)
    log = Path(arguments[1]).with_name("second.log")
    with log.open("w") as output:
        command = [sys.executable, "-m", "prism_pl", "fit", *arguments]
        assert subprocess.run(command, env=own_environment(), stdout=output, stderr=output, check=False).returncode == 2


def remove(target: str, _: Any) -> None:
    """Removes a folder."""
    shutil.rmtree(target)


def spoil(target: str, _: Any) -> None:
    """Cuts every image of a folder in its middle."""
    for image in Path(target).glob("*.png"):
        os.truncate(image, image.stat().st_size // 2)


def send(target: str, _: Any) -> None:
    """Sends this process a signal."""
    os.kill(os.getpid(), int(target))


def kill_wandb(_: str, __: Any) -> None:
    """kill -9 of W&B's own processes."""
    found = [child for child in psutil.Process().children(recursive=True) if "wandb" in " ".join(child.cmdline())]
    assert found
    for child in found:
        child.kill()
    psutil.wait_procs(found)


def kill_engine(_: str, __: Any) -> None:
    """kill -9 of the engine's process."""
    (engine,) = (child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline()))
    engine.kill()
    while engine.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


def poison_weight(_: str, module: Any) -> None:
    """One number of the policy's becomes NaN."""
    with torch.no_grad():
        next(p for p in module.policy.parameters() if p.requires_grad).view(-1)[5] = torch.nan


class FailingEngine(ScriptedEngine):
    """Written responses, until its third call of ``generate``, that for the second update.

    Args:
        how: ``raise``; or what becomes of one response: ``empty``, ``aborted`` or ``lost``.
    """

    def __init__(self, how: str) -> None:
        self.how = how
        self._calls = 0

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        self._calls += 1
        groups = super().generate(prompts, seeds, sampling)
        if self._calls == 3:
            if self.how == "raise":
                raise ConnectionError("the engine's core has died")
            self._spoil(groups[-1])
        return groups

    def _spoil(self, group: list[Response]) -> None:
        if self.how == "lost":
            del group[-1]
        elif self.how == "empty":
            group[1] = Response((), (), "", truncated=False)
        else:
            group[1] = replace(group[1], engine_logp=group[1].engine_logp[:3])


class StaleEngine(TransformersEngine):
    """Takes the weights of the start, and no later ones."""

    _synced = False

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        if self._synced:
            for _ in weights:
                pass
        else:
            super().sync(weights)
        self._synced = True
