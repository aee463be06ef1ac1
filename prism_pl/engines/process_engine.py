"""An engine in a process of its own, which samples while the trainer trains, and is started again when it dies."""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prism_pl.engines.base import Begun, EngineBeside, RolloutEngine
from prism_pl.engines.shared_weights import SharedWeights
from prism_pl.engines.worker import EngineEndedError, Reply, Worker
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeInt, PositiveFloat, PositiveInt
from prism_pl.types import Prompt, SamplingOptions

_log = logging.getLogger(__name__)


@dataclass
class _Request:
    """What the process was asked, and its reply once that was read."""

    method: str
    arguments: tuple[Any, ...]
    reply: Reply | None = None


class ProcessEngine(EngineBeside):
    """Any engine, in a process of its own. The responses are those that it gives in this process.

    Requests are done in the order in which they were made: responses that were asked for before a ``take`` are the old
    weights', those asked for after it the new ones', whenever they are read.

    Args:
        engine: what samples there, ``VLLMEngine`` or ``TransformersEngine``.
        threads: that it computes with on a CPU; null is as many as this process has.
        devices: numbers of the GPUs that the ranks' engines sample on, among those that are visible: rank r takes the r-th,
            and after the last the first again. null is the GPU that the rank trains on.
        restarts: how often it is started again for one answer if it dies, with the newest weights.
        time_limit: seconds without an answer after which it counts as dead.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        threads: PositiveInt | None = None,
        devices: list[NonNegativeInt] | None = None,
        restarts: NonNegativeInt = 2,
        time_limit: PositiveFloat = 3600.0,
    ) -> None:
        self.engine = engine
        self.threads = threads
        self.devices = devices
        self.restarts = restarts
        self.time_limit = time_limit
        self._worker: Worker | None = None
        self._shared = SharedWeights()
        self._precision = torch.float32
        self._asked: deque[_Request] = deque()
        """What has no reply yet."""
        self._taken: _Request | None = None
        """The last ``take``."""
        self._deaths = 0
        """Since the last reply."""

    @property
    def precision(self) -> torch.dtype:
        return self._precision

    @property
    def sleeps(self) -> bool:
        return self.engine.sleeps

    def check(self) -> None:
        count = torch.cuda.device_count()
        if self.devices is not None and (not self.devices or max(self.devices) >= count):
            raise UserError(
                f"ProcessEngine.devices: {self.devices}, but this machine has {count or 'no'} GPU{'s' * (count != 1)}, "
                f"numbered from 0. Leave it out, or name some that are there."
            )
        self.engine.check()

    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        self.check()
        self._options = model, max_prompt_tokens, sampling
        self._asked.clear()
        self._taken, self._deaths, self.version = None, 0, 0
        self._shared = SharedWeights()
        self._begin()

    def begin(self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]) -> Begun:
        request = self._ask("sample", prompts, seeds, samplings)
        return Begun(lambda: self._result(request))

    def take(self, weights: Iterable[tuple[str, torch.Tensor]], version: int, in_flight: bool = False) -> None:
        """Copies the weights; the process takes them after what it was asked before."""
        if self._taken is not None:
            # It may still read the last ones.
            self._result(self._taken)
        is_new = self._shared.write(weights)
        self.version = version
        if is_new:
            self._ask("attach", self._shared.blocks)
        self._taken = self._ask("take", self._shared.places, version)

    def sleep(self) -> None:
        if self.sleeps:
            # The caller wants the memory.
            self._result(self._ask("sleep"))

    def close(self) -> None:
        if self._worker is None:
            return
        if any(request.method == "sample" for request in self._asked):
            # Nobody will read it.
            self._worker.end()
        else:
            self._worker.close()
        self._worker = None

    def _ask(self, method: str, *arguments: Any) -> _Request:
        assert self._worker is not None, "the engine was not started"
        request = _Request(method, arguments)
        self._asked.append(request)
        try:
            self._worker.send(method, *arguments)
        except EngineEndedError as end:
            self._start_again(end)
        return request

    def _result(self, request: _Request) -> Any:
        """Waits for the reply. Those before it are kept for who has asked; of requests that nobody waits for the errors are
        raised here."""
        while request.reply is None:
            assert self._worker is not None
            try:
                reply = self._worker.receive()
            except EngineEndedError as end:
                self._start_again(end)
                continue
            self._deaths = 0
            read = self._asked.popleft()
            read.reply = reply
            if reply[0] is not None and read.method != "sample":
                raise reply[0]
        error, value = request.reply
        if error is not None:
            raise error
        return value

    def _begin(self) -> None:
        """A process with the engine, and the newest weights if there are any. Raises EngineEndedError."""
        threads = self.threads or torch.get_num_threads()
        self._worker = Worker(self.engine, "The engine's process", threads, self._device(), self.time_limit)
        self._precision = self._worker.call("start", *self._options)
        if self._shared.places:
            self._worker.call("attach", self._shared.blocks)
            self._worker.call("take", self._shared.places, self.version)

    def _start_again(self, end: EngineEndedError) -> None:
        """And asks anew what has no reply yet. Raises RuntimeError after the last of ``restarts``."""
        while True:
            self._deaths += 1
            if self._deaths > self.restarts:
                times = f" It was started again {self.restarts} times for this answer." if self.restarts else ""
                raise RuntimeError(f"{end}{times}") from end
            _log.warning(
                "%s It is started again with the weights of update %d, %d of %d times, and asked anew.",
                end, self.version, self._deaths, self.restarts,
            )  # fmt: skip
            try:
                self._begin()
                assert self._worker is not None
                for request in self._asked:
                    self._worker.send(request.method, *request.arguments)
            except EngineEndedError as another:
                end = another
            else:
                return

    def _device(self) -> int | None:
        if not torch.cuda.is_available():
            return None
        if self.devices is None:
            return torch.cuda.current_device()
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        return self.devices[(torch.distributed.get_rank() if several else 0) % len(self.devices)]
