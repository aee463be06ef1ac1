"""One engine a device, each in a process of its own, behind the interface of one: prompts are shared out among them."""

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from prism_pl.engines.base import RolloutEngine
from prism_pl.environment import variables
from prism_pl.errors import UserError
from prism_pl.ranges import PositiveInt
from prism_pl.types import Prompt, Response, SamplingOptions

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def on_devices(engine: RolloutEngine, devices: PositiveInt) -> RolloutEngine:
    """``engine`` itself for one device. Raises UserError if the machine has GPUs, but not so many."""
    count = torch.cuda.device_count()
    if count and devices > count:
        raise UserError(f"devices: {devices}, but this machine has {count} GPU{'s' if count > 1 else ''}.")
    return engine if devices == 1 else SeveralEngines(engine, devices)


class SeveralEngines(RolloutEngine):
    """Copies of an engine on the first ``num_devices`` GPUs, or beside each other on a CPU, which share its threads.

    A prompt's responses depend on its seed alone, so they are those of one engine.
    """

    def __init__(self, engine: RolloutEngine, num_devices: PositiveInt) -> None:
        self.engine = engine
        self.num_devices = num_devices
        self._workers: list[tuple[BaseProcess, Connection]] = []

    def check(self) -> None:
        self.engine.check()

    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        self.check()
        # "spawn": CUDA does not survive a fork, and a device is chosen before CUDA is.
        context = multiprocessing.get_context("spawn")
        for number in range(self.num_devices):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(self.engine, there), daemon=True)
            with _environment(number, self.num_devices):
                process.start()
            there.close()
            self._workers.append((process, here))
        self._ask("start", [(model, max_prompt_tokens, sampling)] * self.num_devices)

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        return self.generate_each(prompts, seeds, [sampling])[0]

    def generate_each(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]
    ) -> list[list[list[Response]]]:
        count = min(self.num_devices, len(prompts))
        shares = self._ask(
            "generate_each", [(prompts[first::count], seeds[first::count], samplings) for first in range(count)]
        )
        return [
            [shares[row % count][number][row // count] for row in range(len(prompts))] for number in range(len(samplings))
        ]

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        self._ask("sync", [([(name, tensor.cpu()) for name, tensor in weights],)] * self.num_devices)

    def close(self) -> None:
        self._ask("close", [()] * len(self._workers))
        for process, connection in self._workers:
            connection.close()
            process.join()
        self._workers = []

    def _ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What the first engines, one for each of ``arguments``, return; their errors are raised here."""
        asked = self._workers[: len(arguments)]
        answers = []
        for number, (_, connection) in enumerate(asked):
            with self._alive(number):
                connection.send((method, arguments[number]))
        for number, (_, connection) in enumerate(asked):
            with self._alive(number):
                error, answer = connection.recv()
            if error is not None:
                raise error
            answers.append(answer)
        return answers

    @contextmanager
    def _alive(self, number: int) -> Iterator[None]:
        """Raises RuntimeError with its exit code if the worker has ended."""
        try:
            yield
        except (EOFError, ConnectionError):
            process = self._workers[number][0]
            process.join()
            raise RuntimeError(f"the engine on device {number} ended with code {process.exitcode}.") from None


def _work(engine: RolloutEngine, connection: Connection) -> None:
    """In a worker: does what it is asked until the asker is gone."""
    # Ctrl-C reaches all processes of a terminal; the asker ends and takes its workers along.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            method, arguments = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            connection.send((None, getattr(engine, method)(*arguments)))
        except Exception as error:
            connection.send((error, None))


@contextmanager
def _environment(number: int, num_devices: int) -> Iterator[None]:
    """What a worker that is started inside sees: one GPU of those that this process sees, and its share of the threads."""
    visible = os.environ.get(_VISIBLE)
    device = visible.split(",")[number] if visible else str(number)
    threads = max(1, torch.get_num_threads() // num_devices)
    own = {"OMP_NUM_THREADS": str(threads)} | ({_VISIBLE: device} if torch.cuda.is_available() else {})
    with variables(own):
        yield
