"""``--trainer.strategy fsdp2``: pure data parallelism with sharded parameters, for any number of models and optimizers."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.strategies.model_parallel import _load_raw_module_state
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from prism_pl.ranges import PositiveFloat
from prism_pl.ranks import broadcast_object, check_collectives

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_FROM_FIRST = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class GatheredPrecision(Precision):
    """``bf16-mixed`` as fsdp2 does it: weights are rounded as they are gathered, so there is nothing to cast around a step.

    Evaluation and probes compute as training does, wherever they are called from.
    """

    precision = "bf16-mixed"


class FSDP2Strategy(ModelParallelStrategy):
    """ModelParallelStrategy over all processes (its own default would be tensor parallelism inside a node).

    A checkpoint is one file as a single device writes it, so it can be resumed on any number of devices. Only the first
    process reads it.

    Args:
        time_limit: seconds that a rank waits for another one; ten rounds of resampling must fit in.
    """

    def __init__(self, time_limit: PositiveFloat = 7200.0, **kwargs: Any) -> None:
        super().__init__(
            data_parallel_size=1,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            timeout=timedelta(seconds=time_limit),
            **kwargs,
        )
        self.time_limit = time_limit

    @property
    def precision_plugin(self) -> Precision:
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, plugin: Precision | None) -> None:
        # Lightning would run the step under autocast.
        self._precision_plugin = GatheredPrecision() if plugin is not None and plugin.precision == "bf16-mixed" else plugin

    def setup_environment(self) -> None:
        # The command line asks for it before the trainer does: the ranks have to agree on a checkpoint.
        if self._device_mesh is None:
            check_collectives()
            self._data_parallel_size = self.num_nodes * self.num_processes
            super().setup_environment()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """On the first rank whole, its parameters numbered as the optimizer itself does; empty on the others."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        unstepped = not plain.state
        assert self.model is not None
        # torch annotates more than it gives.
        state: Any = get_optimizer_state_dict(self.model, plain, options=_WHOLE)
        if unstepped:
            # torch gives it a state by a step with zero gradients, and AdamW then corrects its bias as for a real one.
            plain.state.clear()
        if self.global_rank:
            return {}
        names = [name for group in state["param_groups"] for name in group["params"]]
        number = {name: index for index, name in enumerate(names)}
        groups = [group | {"params": [number[name] for name in group["params"]]} for group in state["param_groups"]]
        own = {} if unstepped else {number[name]: value for name, value in state["state"].items()}
        return {"state": own, "param_groups": groups}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """The first rank reads and hands on; the others need no file, on whatever disk."""
        checkpoint: dict[str, Any] = {}
        if self.is_global_zero:
            path = Path(checkpoint_path)
            checkpoint = torch.load(path, mmap=True, map_location="cpu", weights_only=weights_only)
        large = {name: checkpoint.pop(name, None) for name in ("state_dict", "optimizer_states")}
        # Of the large parts the others get names and shapes; the tensors follow one by one.
        shapes = tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), large)
        checkpoint, shapes = broadcast_object((checkpoint, shapes))
        large = large if self.is_global_zero else shapes
        assert self.model is not None
        _load_raw_module_state(large["state_dict"], self.model)
        for optimizer, state in zip(self.optimizers, large["optimizer_states"], strict=True):
            self._load_optimizer(optimizer, state)
        return checkpoint

    def _load_optimizer(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        if not state["state"]:
            # It had not stepped: it gets its options alone.
            for group, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
                group |= {name: value for name, value in saved.items() if name != "params"}
            return
        assert self.model is not None
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        own = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
        by_name: Any = {
            "state": {own[number]: value for number, value in state["state"].items()},
            "param_groups": [
                group | {"params": [own[number] for number in group["params"]]} for group in state["param_groups"]
            ],
        }
        set_optimizer_state_dict(self.model, optimizer, by_name, options=_FROM_FIRST)


StrategyRegistry.register("fsdp2", FSDP2Strategy, description="Fully sharded data parallel, PyTorch's second version")
