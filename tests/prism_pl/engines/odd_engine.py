"""An engine that does what its prompts' questions say, and engines whose process is all that is looked at."""

import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from prism_pl.engines import ProcessEngine, RolloutEngine
from prism_pl.types import Prompt, Response, SamplingOptions

SAMPLING = SamplingOptions(max_new_tokens=1, group_size=2)


def prompt(question: str, pixel_values: torch.Tensor | None = None) -> Prompt:
    return Prompt(f"rows:{question}", question, (1,), (1,), torch.zeros(3, 1), pixel_values=pixel_values)


class Unreadable:
    """Nothing can be made of it at the other end of a pipe."""

    def __reduce__(self) -> Any:
        return int, ("garbage",)


class OddEngine(RolloutEngine):
    """Answers with the sum of its weights.

    Args:
        folder: where it remembers over its deaths what it has done.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sum = 0.0

    def start(self, *_: Any) -> None: ...

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        word = prompts[0].question
        if word == "die" or (word == "die once" and self._first(word)):
            print("alas", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "stop" and self._first(word):
            os.kill(os.getpid(), signal.SIGSTOP)
        if word == "wait":
            time.sleep(1000)
        if word == "fail":
            raise KeyError("mine")
        text: Any = Unreadable() if word == "garbage" else word
        return [[Response((1,), (self._sum,), text, truncated=False)] * sampling.group_size for _ in prompts]

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        self._sum = float(sum(tensor.double().sum() for _, tensor in weights))

    def close(self) -> None: ...

    def _first(self, word: str) -> bool:
        mark = self.folder / word
        first = not mark.exists()
        mark.touch()
        return first


def wait_for_ever(folder: str) -> None:
    """Writes the engine's process id there, and waits for it."""
    engine = ProcessEngine(OddEngine(Path(folder)))
    engine.start("none", 1, SAMPLING)
    assert engine._worker is not None
    pending = engine.submit([prompt("wait")], [SAMPLING])
    (Path(folder) / "pid.partial").write_text(str(engine._worker.process.pid))
    (Path(folder) / "pid.partial").rename(Path(folder) / "pid")
    pending.result()


if __name__ == "__main__":
    wait_for_ever(sys.argv[1])
