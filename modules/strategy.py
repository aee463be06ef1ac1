"""``--trainer.strategy fsdp2``: pure data parallelism with sharded parameters, for any number of models and optimizers."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.device_dtype_mixin import _update_properties
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.optim import Optimizer

from prism_pl.errors import UserError
from prism_pl.model.sharding import hand_out, move
from prism_pl.ranges import PositiveFloat
from prism_pl.ranks import broadcast_object, check_collectives
from prism_pl.runs.checkpoint import Checkpoint, filled


class GatheredPrecision(Precision):
    """``bf16-mixed`` as fsdp2 does it: weights are rounded as they are gathered, so there is nothing to cast around a step.

    Evaluation and probes compute as training does, wherever they are called from.
    """

    precision = "bf16-mixed"


class FSDP2Strategy(ModelParallelStrategy):
    """ModelParallelStrategy over all processes (its own default would be tensor parallelism inside a node).

    Each rank writes its share of a checkpoint (prism_pl/runs/checkpoint.py). Only the first one reads it, tensor by tensor,
    and hands each rank its share; so any number of ranks can resume, on whatever disks.

    Args:
        time_limit: seconds that a rank waits for another one; ten rounds of resampling must fit in.
        offload: weights, gradients and moments are kept in the host's memory, where the optimizer steps.
        hybrid: weights are sharded over the processes of a node and repeated on every node. Then only gradients go over the
            network, once for all micro-batches of an update; without it the gathered weights do, twice a micro-batch.
    """

    holds_stages = computes_in_bf16 = True
    """What the command line asks of a strategy."""
    sharding_mesh: DeviceMesh
    """What parameters are sharded over: all processes, or nodes x processes of a node."""

    def __init__(
        self, time_limit: PositiveFloat = 7200.0, offload: bool = False, hybrid: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(
            data_parallel_size=1,
            tensor_parallel_size=1,
            timeout=timedelta(seconds=time_limit),
            **kwargs,
        )
        self.time_limit = time_limit
        self.offload = offload
        self.hybrid = hybrid

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
            assert self._device_mesh is not None
            self.sharding_mesh = self._device_mesh["data_parallel"]
            if self.hybrid:
                if self.num_nodes == 1:
                    raise UserError(
                        "trainer.strategy: hybrid repeats weights over nodes, and trainer.num_nodes is 1. Leave it off."
                    )
                sizes = (self.num_nodes, self.num_processes)
                self.sharding_mesh = init_device_mesh(self.root_device.type, sizes, mesh_dim_names=("nodes", "processes"))

    def model_to_device(self) -> None:
        assert self.model is not None
        move(self.model, self.root_device)
        # Modules of Lightning are told where they are; ``move`` tells only those whose parameters are not sharded.
        _update_properties(self.model, device=self.root_device)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """This rank's shares. Tied parameters are one object under two names."""
        assert self.model is not None
        return self.model.state_dict(keep_vars=True)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """This rank's shares, parameters numbered as the optimizer does: as on a single device."""
        return plain(optimizer).state_dict()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options=storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Fills weights and optimizers; returns the checkpoint with this rank's shares of them."""
        assert self.model is not None
        weights = self.model.state_dict(keep_vars=True)
        likes = {f"state_dict/{name}": weight for name, weight in weights.items()}
        for number, optimizer in enumerate(self.optimizers):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            likes |= {f"optimizer_states/{number}/state/{index}": p for index, p in enumerate(parameters)}

        def share(name: str, shape: torch.Tensor, first: torch.Tensor | None) -> torch.Tensor:
            # A state's name is its parameter's and one word more.
            return hand_out(first, shape, likes[name] if name in likes else likes[name.rpartition("/")[0]])

        checkpoint = handed_out(checkpoint_path, self.is_global_zero, weights.keys(), share)
        with torch.no_grad():
            for name, value in checkpoint.pop("state_dict").items():
                weights[name].copy_(value)
        for optimizer, state in zip(self.optimizers, checkpoint.pop("optimizer_states"), strict=True):
            plain(optimizer).load_state_dict(state)
        return checkpoint


def plain(optimizer: Any) -> Any:
    """What Lightning's counter is wrapped around."""
    return optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer


def handed_out(path: Any, is_first: bool, names: Any, take: Callable[..., torch.Tensor]) -> dict[str, Any]:
    """A checkpoint that the first rank alone reads: ``take(name, shape, whole)`` is asked for each large tensor, on all
    ranks in the same order, and gives what stands in its place; ``whole`` is None on all ranks but the first.

    Raises UserError if it holds other weights than ``names``.
    """
    saved = Checkpoint(Path(path)) if is_first else None
    rest = broadcast_object(None if saved is None else saved.rest)
    assert rest is not None
    _check_names(names, rest["checkpoint"]["state_dict"].keys(), path)
    return filled(rest, lambda name, shape: take(name, shape, None if saved is None else saved.read(name)))


def _check_names(own: Any, saved: Any, path: Any) -> None:
    if different := sorted(own ^ saved):
        raise UserError(
            f"{path} was made by another configuration: {different[0]} and {len(different) - 1} further weights are only "
            f"{'in it' if different[0] in saved else 'in this run'}. Resume with the configuration of its run."
        )


StrategyRegistry.register("fsdp2", FSDP2Strategy, description="Fully sharded data parallel, PyTorch's second version")
StrategyRegistry.register("fsdp2_hybrid", FSDP2Strategy, description="The same, repeated over nodes", hybrid=True)
StrategyRegistry.register("fsdp2_offload", FSDP2Strategy, description="The same, with shards on the host", offload=True)
