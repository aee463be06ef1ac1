"""A checkpoint: a folder to which every rank writes its share, in the background, and which is whole or absent.

step=N.ckpt/  __R_n.distcp  rank R's share of the large tensors   (torch.distributed.checkpoint's format)
              .metadata     which part of which tensor is where
              rest.pt       everything else, small tensors included

It is written under a hidden name and gets its own when all ranks' files are on the disk. The names and the numbers of
parameters are those of a single device, so any number of ranks can read it, under any strategy. Reading executes nothing.
"""

import io
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_flatten_with_path, tree_map_with_path

from prism_pl.errors import UserError
from prism_pl.runs.folders import put_in_place
from prism_pl.runs.fragments import Fragment

_REST = "rest.pt"
_METADATA = ".metadata"
_LARGE = ("state_dict", "optimizer_states")
"""The parts of a trainer's checkpoint whose tensors are shared out. Tensors without a dimension stay with the rest."""

Tree = dict[str, Any]
Large = torch.Tensor | Fragment


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The whole checkpoint of the most updates under ``run_dir/checkpoints``."""
    found = [path for path in (run_dir / "checkpoints").glob("step=*.ckpt") if (path / _METADATA).is_file()]
    return max(found, key=lambda path: int(path.stem.split("=")[1]), default=None)


def hidden(target: Path) -> Path:
    """Where a checkpoint is while it is written; a kill may leave it."""
    return target.with_name(f".{target.name}")


def split(checkpoint: Tree) -> tuple[dict[str, Large], Tree]:
    """A trainer's checkpoint as its large tensors by name, each storage once, and the rest.

    The rest has a tensor on the meta device in the place of each large one; ``same`` names those that are tied, and
    ``flat`` has the shapes of those that are written flat.
    """
    tensors: dict[str, Large] = {}
    same: dict[str, str] = {}
    names: dict[Any, str] = {}
    for name, tensor in _large(checkpoint):
        own = local(tensor)
        # A rank that has no row of a sharded tensor knows tied ones by the object.
        storage = (own.data_ptr(), own.dtype, own.shape) if own.numel() else id(tensor)
        if storage in names:
            same[name] = names[storage]
        else:
            names[storage] = name
            tensors[name] = tensor if isinstance(tensor, Fragment) else tensor.detach()
    skeleton = {
        part: tree_map_with_path(lambda _, leaf: _shape_of(leaf) if _is_large(leaf) else leaf, checkpoint[part])
        for part in _LARGE
        if part in checkpoint
    }
    flat = {name: list(tensor.shape) for name, tensor in tensors.items() if isinstance(tensor, Fragment)}
    return tensors, {"checkpoint": checkpoint | skeleton, "same": same, "flat": flat}


def staged(tensors: dict[str, Large], buffers: dict[str, torch.Tensor]) -> dict[str, Large]:
    """Copies of this rank's shares in host memory, which later updates do not touch. All that a step waits for.

    ``buffers`` keeps the pinned memory that a GPU copies into; elsewhere the copies are freed after the write.
    """
    copies: dict[str, Large] = {}
    for name, tensor in tensors.items():
        own = local(tensor)
        if own.is_cuda:
            if name not in buffers:
                buffers[name] = torch.empty(own.shape, dtype=own.dtype, pin_memory=True)
            copy = buffers[name].copy_(own, non_blocking=True)
        else:
            copy = own.clone()
        if isinstance(tensor, Fragment):
            copies[name] = replace(tensor, own=copy)
        else:
            copies[name] = DTensor(copy, tensor._spec, requires_grad=False) if isinstance(tensor, DTensor) else copy
    if buffers:
        torch.cuda.synchronize()
    return copies


def serialised(rest: Tree) -> bytes:
    """The rest as it is now."""
    stream = io.BytesIO()
    torch.save(rest, stream)
    return stream.getvalue()


def write(tensors: dict[str, Large], rest: bytes, target: Path, group: dist.ProcessGroup | None) -> None:
    """Writes the folder. A collective of ``group`` if there is one; an error on one rank is raised on all.

    A rank without tensors writes nothing. The first rank's ``rest`` counts.
    """
    writer, planner = _Writer(target, rest), _Planner()
    dcp.save(dict(tensors), storage_writer=writer, planner=planner, process_group=group, no_dist=group is None)


class Checkpoint:
    """A whole checkpoint, read tensor by tensor.

    Args:
        folder: what ``write`` has made. Raises UserError if it is nothing of the kind.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / _METADATA).is_file() or not (folder / _REST).is_file():
            raise UserError(
                f"{folder} is no checkpoint: it lacks {_METADATA} or {_REST}. Name a folder step=N.ckpt of a run."
            )
        self._reader = _Reader(folder)
        self._tensors = self._reader.read_metadata().state_dict_metadata
        self.rest: Tree = torch.load(folder / _REST, weights_only=True, map_location="cpu")

    def names(self) -> list[str]:
        """Of all large tensors, tied ones included."""
        return [*self._tensors, *self.rest["same"]]

    def read(self, name: str) -> torch.Tensor:
        """One tensor, whole, on the CPU."""
        name = self.rest["same"].get(name, name)
        found: Any = self._tensors[name]
        tensor = torch.empty(found.size, dtype=found.properties.dtype)
        dcp.load({name: tensor}, storage_reader=self._reader, no_dist=True)
        return tensor.reshape(self.rest.get("flat", {}).get(name, tensor.shape))

    def whole(self) -> Tree:
        """The trainer's checkpoint, as ``split`` was given it."""
        return filled(self.rest, lambda name, _: self.read(name))


def filled(rest: Tree, tensor_of: Any) -> Tree:
    """The checkpoint with ``tensor_of(name, shape)`` in the places of the large tensors; a tied one is asked for once."""
    made: dict[str, torch.Tensor] = {}

    def fill(name: str, leaf: Any) -> Any:
        if not _is_large(leaf):
            return leaf
        first = rest["same"].get(name, name)
        if first not in made:
            made[first] = tensor_of(first, leaf)
        return made[first]

    checkpoint: Tree = rest["checkpoint"]
    parts = {
        part: tree_map_with_path(lambda path, leaf: fill(_name(part, path), leaf), checkpoint[part])  # noqa: B023
        for part in _LARGE
        if part in checkpoint
    }
    return checkpoint | parts


def _large(checkpoint: Tree) -> Iterator[tuple[str, Large]]:
    for part in _LARGE:
        for path, leaf in tree_flatten_with_path(checkpoint.get(part))[0]:
            if _is_large(leaf):
                yield _name(part, path), leaf


def local(tensor: Large) -> torch.Tensor:
    """This rank's share."""
    if isinstance(tensor, Fragment):
        return tensor.own.detach()
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _is_large(leaf: Any) -> bool:
    return isinstance(leaf, Large) and len(leaf.shape) > 0


def _shape_of(tensor: Large) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _name(part: str, path: Any) -> str:
    return "/".join([part, *(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)])


class _Planner(DefaultSavePlanner):
    def lookup_object(self, index: MetadataIndex) -> Any:
        found = self.state_dict[index.fqn]
        return found.own if isinstance(found, Fragment) else super().lookup_object(index)


class _Writer(FileSystemWriter):
    """Writes beside the target and puts the folder in its place when all ranks have written."""

    def __init__(self, target: Path, rest: bytes) -> None:
        super().__init__(hidden(target))
        self._target = target
        self._rest = rest

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return super().prepare_local_plan(plan) if plan.items else plan

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Any:
        if plan.items:
            try:
                return super().write_data(plan, planner)
            except Exception as error:
                # torch's own complaint of a file that did not grow hides why, and other ranks hear of the outermost alone.
                raise _system_error(error) or error from error
        nothing: torch.futures.Future[list[Any]] = torch.futures.Future()
        nothing.set_result([])
        return nothing

    def finish(self, metadata: Metadata, results: Any) -> None:
        with (Path(self.path) / _REST).open("wb") as stream:
            stream.write(self._rest)
            os.fsync(stream.fileno())
        super().finish(metadata, results)
        put_in_place(Path(self.path), self._target)


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


class _Reader(FileSystemReader):
    """Reads the metadata once, and as data: a class that they have no need of is refused."""

    _known: Metadata | None = None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        if self._known is None:
            with (Path(self.path) / _METADATA).open("rb") as stream:
                self._known = _Unpickler(stream).load()
        return self._known


class _Unpickler(pickle.Unpickler):
    _allowed: ClassVar[dict[str, set[str]]] = {
        "pathlib": {"PosixPath"},
        "torch": {"Size", *(str(t).removeprefix("torch.") for t in vars(torch).values() if isinstance(t, torch.dtype))},
        "torch.serialization": {"_get_layout"},
        "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
        "torch.distributed.checkpoint.metadata": {
            "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
            "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
        },
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if name not in self._allowed.get(module, ()):
            raise UserError(
                f"a checkpoint's {_METADATA} asks for {module}.{name}, which no checkpoint needs: it is not read."
            )
        return super().find_class(module, name)
