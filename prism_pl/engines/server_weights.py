"""Weights on their way to vLLM servers, by vLLM's own transfer: chunk after chunk through the network, none through a file.

Each server has a group of its own with the trainer's first rank, so that one that dies takes nobody along.
"""

import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol
from urllib.parse import urlsplit

import torch

from prism_pl.engines.server_client import ServerLostError
from prism_pl.engines.server_pool import Server, ServerPool
from prism_pl.errors import UserError
from prism_pl.vllm_server.weight_group import WeightGroup, join, make_store

_CHUNK = 2**26
"""Bytes that are sent with one request, or a single tensor's if it has more."""
_POLL_SECONDS = 0.001

Named = tuple[str, torch.Tensor]


class _Sending(Protocol):
    """A tensor on its way."""

    def is_completed(self) -> bool: ...
    def wait(self) -> Any: ...


class Wire(ABC):
    """The trainer's end of a group with one server's workers."""

    @abstractmethod
    def open(self, address: str, num_workers: int, seconds: float) -> tuple[Mapping[str, Any], Future[None]]:
        """What the workers must know to join, and what is done when they have."""

    @abstractmethod
    def send(self, tensor: torch.Tensor) -> _Sending:
        """Begins to."""

    @abstractmethod
    def close(self) -> None:
        """Ends what is on its way, too."""


class GlooWire(Wire):
    """Over the host's memory: what a CPU has, and any GPU."""

    def open(self, address: str, num_workers: int, seconds: float) -> tuple[Mapping[str, Any], Future[None]]:
        size = num_workers + 1
        store = make_store(address, size, seconds)
        known = {"master_address": address, "master_port": store.port, "rank_offset": 1, "world_size": size}

        def enter() -> None:
            self._group: WeightGroup | None = join(store, 0, size, seconds)

        return known | {"time_limit": seconds}, _in_a_thread(enter)

    def send(self, tensor: torch.Tensor) -> _Sending:
        assert self._group is not None
        return self._group.broadcast(tensor.detach().cpu().contiguous())

    def close(self) -> None:
        self._group = None


class NCCLWire(Wire):
    """From GPU to GPU, by vLLM's communicator. It was never run: there was no machine with two GPUs."""

    def open(self, address: str, num_workers: int, seconds: float) -> tuple[Mapping[str, Any], Future[None]]:
        from vllm.distributed.weight_transfer.nccl_common import trainer_init

        with socket.socket() as listener:
            listener.bind((address, 0))
            port = listener.getsockname()[1]
        known = {"master_address": address, "master_port": port, "world_size": num_workers + 1}
        device = torch.cuda.current_device()

        def enter() -> None:
            torch.cuda.set_device(device)
            self._communicator: Any = trainer_init(known)

        return known | {"rank_offset": 1, "packed": False}, _in_a_thread(enter)

    def send(self, tensor: torch.Tensor) -> _Sending:
        own = tensor.detach().contiguous()
        self._communicator.broadcast(own, src=0, stream=torch.cuda.current_stream())
        return _OnItsWay(own)

    def close(self) -> None:
        self._communicator.destroy()


WIRES: dict[str, type[Wire]] = {"gloo": GlooWire, "nccl": NCCLWire}


class _OnItsWay:
    """In the present stream of a GPU."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._event = torch.cuda.Event()
        self._event.record()

    def is_completed(self) -> bool:
        return self._event.query()

    def wait(self) -> None:
        self._event.synchronize()


class WeightSender:
    """From the trainer's first rank to the servers of its pool.

    Args:
        wire: the class, ``GlooWire`` or ``NCCLWire``.
        seconds: that a step of it may take.
    """

    def __init__(self, pool: ServerPool, wire: type[Wire], seconds: float) -> None:
        self._pool, self._wire, self._seconds = pool, wire, seconds
        self._wires: dict[str, Wire] = {}
        """By the server's address: one that is started again has another."""

    def connect(self, server: Server) -> None:
        """Raises ServerLostError, or UserError for a server that takes no weights."""
        client = server.client
        self.disconnect(server)
        wire = self._wire()
        known, entered = wire.open(_own_address(client.url), self._pool.run(client.num_workers()).result(), self._seconds)
        self._pool.run(client.post("/init_weight_transfer_engine", {"init_info": known})).result()
        entered.result()
        self._wires[client.url] = wire
        # Another run may have been killed before it did.
        self._pool.run(client.post("/resume")).result()

    def disconnect(self, server: Server) -> None:
        wire = self._wires.pop(server.client.url, None)
        if wire is not None:
            wire.close()

    def send(self, weights: Iterable[Named], label: str) -> None:
        """To all that are usable. Those that are lost on the way are left out; the weights are read to their end.

        A pause also makes a server forget all keys, values and encoded images, which are the old weights': what it has half
        sampled it reads again before it goes on.
        """
        self._each("/pause?mode=keep")
        self._each("/start_weight_update")
        for chunk in chunks(weights):
            self._send(chunk)
        self._each("/finish_weight_update", {"weight_version": label})
        self._each("/resume")

    def close(self) -> None:
        for wire in self._wires.values():
            wire.close()
        self._wires = {}

    def _send(self, chunk: Sequence[Named]) -> None:
        told = {
            "names": [name for name, _ in chunk],
            "dtype_names": [str(tensor.dtype).removeprefix("torch.") for _, tensor in chunk],
            "shapes": [list(tensor.shape) for _, tensor in chunk],
        }
        servers = self._pool.usable
        posts = [self._pool.run(server.client.post("/update_weights", {"update_info": told})) for server in servers]
        sending = [[self._wires[server.client.url].send(tensor) for _, tensor in chunk] for server in servers]
        for server, post, tensors in zip(servers, posts, sending, strict=True):
            try:
                _wait(post, tensors)
            except (ServerLostError, UserError, RuntimeError) as why:
                self._lose(server, why)

    def _each(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        servers = self._pool.usable
        posts = [self._pool.run(server.client.post(path, body)) for server in servers]
        for server, post in zip(servers, posts, strict=True):
            try:
                post.result()
            except (ServerLostError, UserError) as why:
                self._lose(server, why)

    def _lose(self, server: Server, why: Exception) -> None:
        self.disconnect(server)
        self._pool.leave_out(server, f"did not take the weights: {why}" if not isinstance(why, ServerLostError) else why)


def chunks(weights: Iterable[Named]) -> Iterator[list[Named]]:
    """Of about 64 MiB."""
    chunk: list[Named] = []
    size = 0
    for name, tensor in weights:
        if chunk and size + tensor.nbytes > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append((name, tensor))
        size += tensor.nbytes
    if chunk:
        yield chunk


def _wait(post: "Future[bytes]", sending: Sequence[_Sending]) -> None:
    """Until the server has the tensors and says so. Raises what either end raises, whoever is first: the other would
    wait."""
    while not all(tensor.is_completed() for tensor in sending):
        if post.done():
            post.result()
        time.sleep(_POLL_SECONDS)
    for tensor in sending:
        tensor.wait()
    post.result()


def _own_address(url: str) -> str:
    """Of this machine, as the server sees it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    family, kind, _, _, where = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        # No packet is sent.
        probe.connect(where)
        return str(probe.getsockname()[0])


def _in_a_thread(work: Any) -> "Future[None]":
    """One that nobody waits for at the end of the process: a peer may never come."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="weights' group", daemon=True).start()
    return future
