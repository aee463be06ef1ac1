"""In the workers of a vLLM server: weights that come from the trainer over gloo, where there is no NCCL.

vLLM 0.32 has engines for NCCL and CUDA's handles alone, and takes further ones by name. Importing this registers ``gloo``;
``--worker-extension-cls prism_pl.vllm_server.gloo_transfer.Extension`` makes each worker do so.
"""

from dataclasses import dataclass

import torch
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine, NCCLWeightTransferUpdateInfo

from prism_pl.vllm_server.weight_group import WeightGroup, join, join_store


@dataclass
class GlooInitInfo(WeightTransferInitInfo):
    """Where the trainer is, and who takes part."""

    master_address: str
    master_port: int
    rank_offset: int
    world_size: int
    time_limit: float
    """Seconds that one waits for another."""


class GlooWeightTransferEngine(NCCLWeightTransferEngine):
    """vLLM's own, one tensor after the other, with another wire."""

    init_info_cls = GlooInitInfo  # type: ignore[assignment]
    _group: WeightGroup | None = None

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:  # type: ignore[override]
        self.shutdown()
        parallel = self.parallel_config
        rank = parallel.data_parallel_index * parallel.world_size + parallel.rank + init_info.rank_offset
        size, limit = init_info.world_size, init_info.time_limit
        store = join_store(init_info.master_address, init_info.master_port, size, limit)
        self._group = join(store, rank, size, limit)

    def update_weights(self, update_info: dict) -> None:
        # vLLM's waits for a device, which a CPU has none of.
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: NCCLWeightTransferUpdateInfo) -> None:
        assert self._group is not None, "weights before init_transfer_engine"
        for name, dtype, shape in zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True):
            tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            self._group.broadcast(tensor).wait()
            self.model.load_weights([(name, tensor.to(self.device))])  # type: ignore[operator]

    def shutdown(self) -> None:
        self._group = None


WeightTransferEngineFactory.register_engine("gloo", GlooWeightTransferEngine)


class Extension:
    """Nothing: to have it, a worker imports this."""
