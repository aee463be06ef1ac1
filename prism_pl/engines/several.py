"""One engine a device, each in a process of its own, behind the interface of one: prompts are shared out among them."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from prism_pl.engines.base import RolloutEngine
from prism_pl.engines.shared_weights import SharedWeights
from prism_pl.engines.worker import Worker
from prism_pl.errors import UserError
from prism_pl.ranges import PositiveInt
from prism_pl.types import Prompt, Response, SamplingOptions


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
        self._workers: list[Worker] = []
        self._shared = SharedWeights()

    def check(self) -> None:
        self.engine.check()

    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        self.check()
        threads = max(1, torch.get_num_threads() // self.num_devices)
        for number in range(self.num_devices):
            device = number if torch.cuda.is_available() else None
            self._workers.append(Worker(self.engine, f"the engine on device {number}", threads, device))
        self._ask("start", [(model, max_prompt_tokens, sampling)] * self.num_devices)

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        return self.generate_each(prompts, seeds, [sampling])[0]

    def generate_each(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]
    ) -> list[list[list[Response]]]:
        count = min(self.num_devices, len(prompts))
        shares = self._ask("sample", [(prompts[first::count], seeds[first::count], samplings) for first in range(count)])
        return [
            [shares[row % count].groups[number][row // count] for row in range(len(prompts))]
            for number in range(len(samplings))
        ]

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        if self._shared.write(weights):
            self._ask("attach", [(self._shared.blocks,)] * self.num_devices)
        self._ask("take", [(self._shared.places, self.version)] * self.num_devices)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        self._workers = []

    def _ask(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What the first engines, one for each of ``arguments``, return; their errors are raised here."""
        asked = self._workers[: len(arguments)]
        for worker, own in zip(asked, arguments, strict=True):
            worker.send(method, *own)
        answers = []
        for worker in asked:
            error, answer = worker.receive()
            if error is not None:
                raise error
            answers.append(answer)
        return answers
