"""Checkpoints in the background: a step waits for the copy to host memory, and for a write before that is not done yet."""

import logging
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor

from prism_pl.errors import UserError
from prism_pl.heartbeat import within
from prism_pl.ranks import broadcast_object, gather_objects, several
from prism_pl.runs.checkpoint import Large, hidden, local, serialised, split, staged, write
from prism_pl.runs.files import unwritten
from prism_pl.runs.fragments import Fragment

_log = logging.getLogger(__name__)
_LIMIT = timedelta(hours=2)
"""Ranks write at different speeds; the slowest has this long."""


class CheckpointWriter:
    """Made once a run, on every rank. All its methods but ``remove`` are collectives.

    Where a rank does not see the first one's folder, because it has a disk of its own, the first gathers all tensors and
    writes alone: that takes longer than a copy.

    Args:
        after: the first rank's further work on a checkpoint that has been written, in the background, too.
    """

    def __init__(self, after: Callable[[Path], None]) -> None:
        self._after = after
        # One thread: a write, what comes after it and the removal of older ones follow one another.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: list[tuple[Path, Future[None]]] = []
        self._buffers: dict[str, torch.Tensor] = {}
        self._group: dist.ProcessGroup | None = None
        self._shared: bool | None = None

    def save(self, checkpoint: dict[str, Any], target: Path) -> None:
        """Starts to write a trainer's checkpoint; ``target`` is the first rank's.

        Raises what became of the one before, as ``wait`` does; and UserError, on all ranks, for a weight that is not
        finite.
        """
        self.wait()
        tensors, rest = split(checkpoint)
        refuse_nonfinite(tensors, target)
        first = not several() or dist.get_rank() == 0
        if first:
            # What a kill has left of the same step.
            shutil.rmtree(hidden(target), ignore_errors=True)
            hidden(target).mkdir(parents=True)
        # After that: the others look whether they see it.
        target = Path(broadcast_object(str(target)))
        if several() and self._group is None:
            # Of its own: the trainer's collectives go on meanwhile, on whatever backend.
            self._group = dist.new_group(backend="gloo", timeout=_LIMIT)
        if not self._disk_is_shared(target):
            tensors = _gathered(tensors, keep=first)
        self._submit(target, write, staged(tensors, self._buffers), serialised(rest), target, self._group)
        if first:
            self._submit(target, self._after, target)

    def remove(self, folder: Path) -> None:
        """Removes a checkpoint once those that were saved before this call are whole; on the first rank alone."""
        before = list(self._pending)

        def remove() -> None:
            if all(future.done() and future.exception() is None for _, future in before):
                shutil.rmtree(folder, ignore_errors=True)

        self._submit(folder, remove)

    def wait(self) -> None:
        """Until nothing is left to write. Raises UserError, on all ranks, if there was no room or no right to write."""
        with within("checkpoint"):
            pending, self._pending = self._pending, []
            for target, future in pending:
                if (error := future.exception()) is not None:
                    _explain(error, target)

    def settle(self) -> None:
        """The same after a failure of the run, which it must not hide: an error is only logged."""
        try:
            self.wait()
        except Exception as error:
            _log.error("%s", error)

    def _submit(self, target: Path, work: Callable[..., None], *arguments: Any) -> None:
        self._pending.append((target, self._worker.submit(work, *arguments)))

    def _disk_is_shared(self, target: Path) -> bool:
        if self._shared is None:
            blind = [rank for rank, sees in enumerate(gather_objects(hidden(target).exists())) if not sees]
            self._shared = not blind
            if blind and dist.get_rank() == 0:
                _log.warning(
                    "Rank %d does not see %s: the first rank gathers and writes checkpoints alone, and the others wait for "
                    "it. With run_dir on a disk that all nodes share each writes its own part.",
                    blind[0], target.parent,
                )  # fmt: skip
        return self._shared


def refuse_nonfinite(tensors: dict[str, Large], target: Path) -> None:
    """Raises UserError, on all ranks, if a weight or a moment of one is not finite: a run cannot go on then. Collective."""
    shares = {name: local(tensor) for name, tensor in tensors.items()}
    names = [name for name, own in shares.items() if own.is_floating_point() and not own.isfinite().all()]
    everyone = [*dict.fromkeys(name for own in gather_objects(names) for name in own)]
    if everyone:
        raise UserError(
            f"{target} is not written: {len(everyone)} tensors in it are not finite, the first is {everyone[0]}. The "
            f"checkpoint before it is kept, and the same command goes on from there. If it happens again, try a lower "
            f"learning rate; if it happens elsewhere, look at the machine."
        )


def _gathered(tensors: dict[str, Large], keep: bool) -> dict[str, Large]:
    kept: dict[str, Large] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, Fragment):
            whole = tensor.whole()
        else:
            # Ranks exchange what is on their devices; a shard may be on the host.
            whole = tensor.to(tensor.device_mesh.device_type) if isinstance(tensor, DTensor) else tensor
            whole = whole.full_tensor() if isinstance(whole, DTensor) else whole
        if keep:
            kept[name] = whole.cpu()
    return kept


def _explain(error: BaseException, target: Path) -> None:
    failures = {0: error}
    if isinstance(error, CheckpointException):
        failures = {rank: failure for rank, (failure, _) in error.failures.items()}
    if not all(isinstance(failure, OSError) for failure in failures.values()):
        raise error
    raise unwritten(target, "; ".join(f"rank {rank}: {failure}" for rank, failure in failures.items())) from error
