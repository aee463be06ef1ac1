"""``--trainer.strategy fsdp2``: pure data parallelism with sharded parameters, for any number of models and optimizers."""

from typing import Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch.optim import Optimizer

_UNSTEPPED = "unstepped_optimizers"


class FSDP2Strategy(ModelParallelStrategy):
    """ModelParallelStrategy over all processes (its own default would be tensor parallelism inside a node).

    An optimizer that has not stepped yet has no state, but torch gives it one by a step with zero gradients when it is
    saved or loaded, and AdamW then corrects its bias as if that step had been real. Here it stays without.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=False, **kwargs)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        unstepped = not plain.state
        state = super().optimizer_state(optimizer)
        if unstepped:
            plain.state.clear()
        return state

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        checkpoint[_UNSTEPPED] = [index for index, optimizer in enumerate(self.optimizers) if not optimizer.state]
        super().save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint = super().load_checkpoint(checkpoint_path, weights_only)
        for index in checkpoint[_UNSTEPPED]:
            self.optimizers[index].state.clear()
        return checkpoint


StrategyRegistry.register("fsdp2", FSDP2Strategy, description="Fully sharded data parallel, PyTorch's second version")
