"""Gradient checkpointing of a stock model's layers, whose inputs may wait for the backward pass in the host's memory.

Without offload a layer keeps its input, N x H numbers, on the device. With it the input goes to pinned memory of the host
on a stream of its own, while the layer computes; in the backward pass it comes back while the layer above computes.
"""

import weakref
from functools import partial
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from prism_pl.errors import UserError


def enable_checkpointing(model: Any, *, offload: bool) -> None:
    """Has each layer of a transformers model compute its activations again in the backward pass.

    The reentrant kind would cut the router's logits off the graph: the balance loss would be a constant.
    """
    model.gradient_checkpointing_enable({"use_reentrant": False})
    if offload:
        host = HostInputs()
        for module in model.modules():
            if getattr(module, "gradient_checkpointing", False):
                module._gradient_checkpointing_func = partial(_offloaded, module._gradient_checkpointing_func, host)


def check_options(purpose: str, *, checkpointing: bool, offload: bool) -> None:
    """Raises UserError for inputs that nobody keeps."""
    if offload and not checkpointing:
        raise UserError(
            f"{purpose}.offload_activations moves what gradient checkpointing keeps, and {purpose}.gradient_checkpointing "
            f"is off. Set both, or neither."
        )


def _offloaded(checkpoint: Any, host: "HostInputs", *arguments: Any) -> Any:
    # Around the checkpoint: its own hooks are the inner ones, and see all that the layer saves but the layer's inputs.
    with host:
        return checkpoint(*arguments)


class HostInputs(saved_tensors_hooks):
    """Moves what is saved under it to the host, and back when it is asked for. A CPU's tensors are there already."""

    def __init__(self) -> None:
        super().__init__(self.pack, self.unpack)
        self._latest: weakref.ref[_Waiting] | None = None
        self._stream: torch.cuda.Stream | None = None

    def pack(self, tensor: torch.Tensor) -> "torch.Tensor | _Waiting":
        """What stands for the tensor until the backward pass."""
        if not tensor.is_cuda:
            return tensor
        if self._stream is None:
            self._stream = torch.cuda.Stream(tensor.device)
        waiting = _Waiting(tensor, self._stream, self._latest)
        self._latest = weakref.ref(waiting)
        return waiting

    def unpack(self, kept: "torch.Tensor | _Waiting") -> torch.Tensor:
        """The tensor."""
        return kept if isinstance(kept, torch.Tensor) else kept.take()


class _Waiting:
    """A tensor in pinned memory, and the one before it, which the backward pass will need next.

    Copies of both directions go through one stream, so a tensor comes back after it has left. The allocator must know of
    memory that one stream has allocated and another one uses: ``record_stream``.
    """

    def __init__(self, tensor: torch.Tensor, stream: torch.cuda.Stream, before: "weakref.ref[_Waiting] | None") -> None:
        self._device, self._stream, self._before = tensor.device, stream, before
        self._back: tuple[torch.Tensor, torch.cuda.Event] | None = None
        stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(stream):
            self._host = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
        tensor.record_stream(stream)

    def take(self) -> torch.Tensor:
        """The tensor on its device, for the current stream; starts the copy of the one before."""
        self._fetch()
        assert self._back is not None
        (tensor, arrived), self._back = self._back, None
        current = torch.cuda.current_stream(self._device)
        current.wait_event(arrived)
        tensor.record_stream(current)
        before = None if self._before is None else self._before()
        if before is not None:
            before._fetch()
        return tensor

    def _fetch(self) -> None:
        if self._back is None:
            with torch.cuda.stream(self._stream):
                self._back = self._host.to(self._device, non_blocking=True), self._stream.record_event()
