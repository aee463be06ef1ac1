"""A tensor of which each rank holds some of its numbers, cut anywhere: DeepSpeed cuts through rows and through tensors."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType

from prism_pl.ranks import several


@dataclass(frozen=True, eq=False)
class Fragment:
    """This rank's part of a tensor. The parts of all ranks make the whole; a checkpoint holds it flat."""

    own: torch.Tensor
    """(n,), maybe none."""
    offset: int
    """Where they begin in the flat tensor."""
    shape: torch.Size
    """Of the whole."""

    @property
    def dtype(self) -> torch.dtype:
        return self.own.dtype

    def of(self, whole: torch.Tensor) -> torch.Tensor:
        """This rank's numbers (n,) of a tensor that it has whole."""
        return whole.flatten().narrow(0, self.offset, len(self.own))

    def fill(self, whole: torch.Tensor) -> None:
        """Puts this rank's numbers of a whole tensor in their place."""
        self.own.copy_(self.of(whole))

    def whole(self) -> torch.Tensor:
        """The tensor itself, on every rank. A collective."""
        device = torch.device("cuda") if several() and dist.get_backend() == "nccl" else self.own.device
        flat = torch.zeros(self.shape.numel(), dtype=self.dtype, device=device)
        flat.narrow(0, self.offset, len(self.own)).copy_(self.own)
        if several():
            dist.all_reduce(flat)
        return flat.reshape(self.shape)

    def __create_write_items__(self, fqn: str, _: object) -> list[WriteItem]:
        """What torch.distributed.checkpoint asks: the part that this rank writes."""
        if not len(self.own):
            return []
        place, size = torch.Size([self.offset]), torch.Size([len(self.own)])
        data = TensorWriteData(
            chunk=ChunkStorageMetadata(offsets=place, sizes=size),
            properties=TensorProperties.create_from_tensor(self.own),
            size=torch.Size([self.shape.numel()]),
        )
        return [WriteItem(index=MetadataIndex(fqn, place), type=WriteItemType.SHARD, tensor_data=data)]
