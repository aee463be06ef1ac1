"""vLLM servers beside the trainer, on this machine or others: they get prompts, and new weights after each batch."""

import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import AutoTokenizer

from prism_pl.engines.base import Begun, EngineBeside, Sampled
from prism_pl.engines.own_servers import OwnServers, check_devices
from prism_pl.engines.server_client import ServerClient, ServerLostError, Tokens, address, question
from prism_pl.engines.server_pool import Server, ServerPool
from prism_pl.engines.server_weights import WIRES, WeightSender
from prism_pl.engines.vllm_prompts import placeholder_bias
from prism_pl.errors import UserError
from prism_pl.hub import policy_folder
from prism_pl.ranges import NonNegativeInt, PositiveFloat, PositiveInt
from prism_pl.ranks import broadcast_object, gather_objects
from prism_pl.types import Prompt, Response, SamplingOptions
from prism_pl.vllm_server import ServerOptions, check_installed

_FRESH = "default"
"""vLLM's name for the weights that a server has read from its folder."""


@dataclass(frozen=True)
class _News:
    """What the first rank tells all."""

    servers: list[tuple[str, str, bool]]
    """Name, address, and whether it is usable."""
    precision: torch.dtype
    error: Exception | None
    """Why it could not go on."""


class VLLMServerEngine(EngineBeside):
    """Servers of vLLM 0.32, which all ranks ask. The first rank starts them, and sends all of them the weights.

    A prompt goes to the server with the fewest open ones. The responses are those of ``VLLMEngine``, whichever gives them.
    A ``take`` waits for what was asked before: that is the old weights', and what is asked later the new ones'. With
    ``in_flight`` it does not: servers pause, forget the keys and values of what they have half sampled, and go on with the
    new weights.

    Args:
        num_servers: how many are started on this machine, and ended with the run.
        urls: of servers that run already, such as ``http://node7:8000``; docs/scaling.md says how they are started.
        options: of the servers that are started here.
        devices: numbers of the GPUs of those, ``tensor_parallel_size`` for each server; none may be a trainer's.
        transfer: the way of the weights, ``nccl`` between GPUs or ``gloo`` between hosts; ``auto`` is ``nccl`` if the
            trainer is on a GPU.
        concurrency: prompts that a server is asked about at once, of ``group_size`` responses each.
        restarts: how often each server that was started here is started again; new weights are the occasion.
        time_limit: seconds without an answer after which a server counts as lost.
        log_folder: where the output of those that are started here goes; null is a new folder among the temporary ones.
    """

    updates_in_flight = True

    def __init__(
        self,
        num_servers: NonNegativeInt = 0,
        urls: list[str] | None = None,
        options: ServerOptions = ServerOptions(),  # noqa: B008 (frozen)
        devices: list[NonNegativeInt] | None = None,
        transfer: Literal["auto", "nccl", "gloo"] = "auto",
        concurrency: PositiveInt = 32,
        restarts: NonNegativeInt = 2,
        time_limit: PositiveFloat = 3600.0,
        log_folder: str | None = None,
    ) -> None:
        self.num_servers = num_servers
        self.urls = [address(url) for url in urls or ()]
        self.options = options
        self.devices = devices
        self.transfer = transfer
        self.concurrency = concurrency
        self.restarts = restarts
        self.time_limit = time_limit
        self.log_folder = log_folder
        if not num_servers and not self.urls:
            raise UserError(
                "VLLMServerEngine: it has no server. Set num_servers to how many it shall start on this machine, or urls "
                "to the addresses of running ones."
            )
        if len(set(self.urls)) < len(self.urls):
            raise UserError("VLLMServerEngine.urls: one of them stands there twice. Name each server once.")
        self._precision = torch.float32
        self._run = ""
        """Names the weights of this run."""
        self._pool: ServerPool | None = None
        self._own: OwnServers | None = None
        """On the first rank, where it starts some. They come first in the pool."""
        self._sender: WeightSender | None = None
        """On the first rank."""

    @property
    def num_devices(self) -> int:  # type: ignore[override]
        return self.num_servers + len(self.urls)

    @property
    def precision(self) -> torch.dtype:
        return self._precision

    @property
    def _wire(self) -> str:
        if self.transfer == "auto":
            return "nccl" if torch.cuda.is_available() else "gloo"
        return self.transfer

    def check(self) -> None:
        count = torch.cuda.device_count()
        if self.num_servers:
            check_installed("VLLMServerEngine.num_servers")
        check_devices(self.devices, self.num_servers, self.options.tensor_parallel_size, count)
        if self._wire == "nccl":
            if not count:
                raise UserError("VLLMServerEngine.transfer: nccl needs a trainer on a GPU. Use gloo, or leave it out.")
            check_installed("VLLMServerEngine.transfer nccl")

    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        self.check()
        folder = policy_folder(model, "the engine's model")
        self._placeholder_bias = placeholder_bias(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._pool = ServerPool(self.concurrency)
        self._pool.labels = [_FRESH]
        self._versions = {_FRESH: 0}
        machines = sorted(set(gather_objects(socket.gethostname())))
        if self.num_servers and len(machines) > 1:
            raise UserError(
                f"VLLMServerEngine.num_servers: the run is on the machines {', '.join(machines)}, and a server that it "
                f"starts answers on its own. Start them yourself, and name their urls."
            )
        self._run = broadcast_object(secrets.token_hex(4))
        length = max_prompt_tokens + sampling.max_new_tokens
        try:
            self._told(lambda: self._start(folder, length, sampling.group_size))
        except BaseException:
            self.close()
            raise
        self.version = 0

    def begin(self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]) -> Begun:
        assert self._pool is not None, "the engine was not started"
        asked = self._pool.ask(
            [
                question(prompt, seed, sampling, self._placeholder_bias)
                for sampling in samplings
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
        )

        def collect() -> Sampled:
            groups = self._decoded([question.answer.result() for question in asked])
            seconds = max(question.end for question in asked) - asked[0].begin
            size = len(prompts)
            return Sampled([groups[first : first + size] for first in range(0, len(groups), size)], seconds)

        return Begun(collect, lambda: all(question.answer.done() for question in asked))

    def take(self, weights: Iterable[tuple[str, torch.Tensor]], version: int, in_flight: bool = False) -> None:
        """All ranks gather the weights, the first one sends them. Without ``in_flight`` no rank has anything open then."""
        pool, label = self._pool, f"{self._run}-{version}"
        assert pool is not None, "the engine was not started"
        if not in_flight:
            pool.wait()
        # A server that is lost on the way, or found again, must not be asked before it has the weights.
        pool.hold()
        lost = [server.client.name for server in pool.servers if not server.usable]
        # On all ranks, before the first server goes on with them.
        self._versions[label] = version
        pool.labels.append(label)
        lost = [name for names in gather_objects(lost) for name in names]
        iterator = iter(weights)
        self._told(lambda: self._send(iterator, label, lost), iterator)
        pool.release()
        self.version = version

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()
        if self._pool is not None:
            self._pool.close()
        if self._own is not None:
            self._own.close()
        self._pool = self._own = self._sender = None

    def _told(self, work: Callable[[], None], weights: Iterable[object] = ()) -> None:
        """The first rank does the work, and all know then what became of the servers. Its error is everyone's."""
        assert self._pool is not None
        error = None
        if _is_first():
            try:
                work()
                if not self._pool.usable:
                    raise self._pool.none_left()
            except Exception as failure:
                error = failure
        # The other ranks', and what the first one has left of it: a gather is waited for by all.
        for _ in weights:
            pass
        servers = [(server.client.name, server.client.url, server.usable) for server in self._pool.servers]
        news = broadcast_object(_News(servers, self._precision, error))
        if news.error is not None:
            raise news.error
        self._precision = news.precision
        if not _is_first():
            known = {server.client.url: server for server in self._pool.servers}
            self._pool.replace([known.get(url) or self._server(name, url) for name, url, _ in news.servers])
        for server, (_, _, usable) in zip(self._pool.servers, news.servers, strict=True):
            server.usable = usable

    def _start(self, folder: str, max_model_len: int, group_size: int) -> None:
        assert self._pool is not None
        self._needs = max_model_len, group_size
        if self.num_servers:
            size = self.options.tensor_parallel_size
            devices = [self.devices[i * size : (i + 1) * size] if self.devices else None for i in range(self.num_servers)]
            self._own = OwnServers(folder, max_model_len, self.options, self._wire, devices, self.restarts, self.log_folder)
            self._own.start()
        self._pool.replace(
            [self._server(server.name, server.url) for server in (self._own.servers if self._own else ())]
            + [self._server(f"The vLLM server {url}", url) for url in self.urls]
        )
        self._sender = WeightSender(self._pool, WIRES[self._wire], self.time_limit)
        for server in self._pool.servers:
            server.usable = True
            try:
                self._connect(server)
            except ServerLostError as why:
                self._pool.leave_out(server, why)

    def _send(self, weights: Iterable[tuple[str, torch.Tensor]], label: str, lost: Sequence[str]) -> None:
        assert self._pool is not None
        assert self._sender is not None
        servers = list(self._pool.servers)
        for number, server in enumerate(servers):
            if server.client.name in lost:
                self._sender.disconnect(server)
                servers[number] = self._revived(number, server)
        self._pool.replace(servers)
        self._sender.send(weights, label)

    def _revived(self, number: int, server: Server) -> Server:
        """The server, usable again if it can be reached; one of this run's own is started again if not."""
        server.usable = False
        server.usable = self._connects(server)
        if not server.usable and self._own is not None and number < self.num_servers and self._own.start_again(number):
            server = self._server(server.client.name, self._own.servers[number].url)
            server.usable = self._connects(server)
        return server

    def _connect(self, server: Server) -> None:
        """Raises ServerLostError, or UserError for a server that was started in another way than is needed."""
        assert self._pool is not None
        assert self._sender is not None
        facts = self._pool.run(server.client.facts()).result()
        facts.check(server.client.name, *self._needs, self._wire)
        self._precision = facts.precision
        self._sender.connect(server)

    def _connects(self, server: Server) -> bool:
        assert self._pool is not None
        try:
            self._connect(server)
        except (ServerLostError, UserError) as why:
            self._pool.leave_out(server, why)
            return False
        return True

    def _server(self, name: str, url: str) -> Server:
        own = {server.url: server for server in (self._own.servers if self._own is not None else ())}.get(url)
        return Server(ServerClient(name, url, self.time_limit), own.last_words if own else lambda: "")

    def _decoded(self, tokens: list[list[Tokens]]) -> list[list[Response]]:
        texts = iter(
            self._tokenizer.batch_decode([list(item.ids) for group in tokens for item in group], skip_special_tokens=True)
        )
        return [
            [Response(item.ids, item.logp, next(texts), item.truncated, self._versions[item.label]) for item in group]
            for group in tokens
        ]


def _is_first() -> bool:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0
