"""``--trainer.strategy fsdp2``: pure data parallelism with sharded parameters, for any number of models and optimizers."""

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry


class FSDP2Strategy(ModelParallelStrategy):
    """ModelParallelStrategy over all processes (its own default would be tensor parallelism inside a node)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=False, **kwargs)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


StrategyRegistry.register("fsdp2", FSDP2Strategy, description="Fully sharded data parallel, PyTorch's second version")
