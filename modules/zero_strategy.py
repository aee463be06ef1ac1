"""``--trainer.strategy deepspeed_stage_2`` and its kin: an engine of DeepSpeed for each network that a stage trains."""

from contextlib import ExitStack
from copy import deepcopy
from typing import Any, Literal

import torch
from lightning.pytorch.strategies import StrategyRegistry
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.optim import Optimizer

from modules.plain_strategy import PlainStrategy
from modules.strategy import handed_out, plain
from prism_pl.errors import UserError
from prism_pl.model.backbone import keep_in_step
from prism_pl.model.sharding import hand_out, shard
from prism_pl.model.zero import ZeroEngine, check_installed, launched
from prism_pl.ranges import PositiveFloat

TUNING = frozenset(
    (
        "overlap_comm", "contiguous_gradients", "reduce_scatter", "reduce_bucket_size", "allgather_bucket_size",
        "sub_group_size", "stage3_max_live_parameters", "stage3_max_reuse_distance", "stage3_prefetch_bucket_size",
        "stage3_param_persistence_threshold", "stage3_model_persistence_threshold",
    )
)  # fmt: skip
"""Keys of ``zero_optimization`` that are a matter of speed and memory."""


class ZeroStrategy(PlainStrategy):
    """DeepSpeed's ZeRO. Lightning's own strategy has one engine and one optimizer, and refuses CPUs.

    Lightning starts the processes and counts the steps; an engine reduces gradients, clips and steps. Checkpoints are the
    project's: each rank writes its parts under the names and numbers of a single device (prism_pl/runs/checkpoint.py), so
    any number of ranks goes on, under any strategy.

    Args:
        stage: 2 shares out moments, fp32 weights and gradients; 3 the weights as well.
        offload: moments and fp32 weights, and in stage 3 the weights, are kept in the host's memory.
        zero: how much it moves and keeps at a time: keys of DeepSpeed's ``zero_optimization`` that change no result.
        time_limit: seconds that a rank waits for another one; ten rounds of resampling must fit in.
    """

    def __init__(
        self,
        stage: Literal[2, 3] = 3,
        offload: bool = False,
        zero: dict[str, Any] | None = None,
        time_limit: PositiveFloat = 7200.0,
        **kwargs: Any,
    ) -> None:
        check_installed()
        if foreign := sorted((zero or {}).keys() - TUNING):
            raise UserError(
                f"trainer.strategy.zero: {', '.join(foreign)} would change what DeepSpeed keeps where. Its `stage` and "
                f"`offload` are options of the strategy; here it takes {', '.join(sorted(TUNING))}."
            )
        super().__init__(time_limit, **kwargs)
        self.stage = stage
        self.offload = offload
        self.zero = zero or {}
        self.engines: list[ZeroEngine] = []
        self._until_teardown = ExitStack()
        self._mesh: DeviceMesh | None = None

    def config(self, clip_norm: float) -> dict[str, Any]:
        """DeepSpeed's configuration of an engine."""
        zero: dict[str, Any] = {"stage": self.stage}
        if self.offload:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": self.root_device.type == "cuda"}
            if self.stage == 3:
                zero["offload_param"] = {"device": "cpu", "pin_memory": self.root_device.type == "cuda"}
        return {
            # Micro-batches are of our making: whoever calls ``step`` ends an update. Counted by DeepSpeed, all of them but
            # the last were lost.
            "managed_gradient_accumulation": False,
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": clip_norm,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "zero_optimization": zero | self.zero,
        }

    def setup(self, trainer: Any) -> None:
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        self.model_to_device()
        self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        self._until_teardown.enter_context(launched(self.root_device, self.local_rank))
        for optimizer in self.optimizers:
            network = _owner(self.model, optimizer)
            config = deepcopy(self.config(self.model.clip_norm))  # type: ignore[arg-type]
            self.engines.append(ZeroEngine(network, optimizer, config))

    def take(self, network: Any, tower: nn.Module) -> None:
        """A freshly loaded network with its vision tower, before an engine gets it.

        One that no engine will have, because it never learns or comes when they are made, is sharded by FSDP2.
        """
        if self.world_size == 1:
            return
        frozen = not any(parameter.requires_grad for parameter in network.parameters())
        if not frozen and not self.engines:
            keep_in_step(tower)
            return
        if self._mesh is None:
            self._mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        shard(network, self._mesh)

    def engine_of(self, part: nn.Module | Optimizer) -> ZeroEngine | None:
        """The engine of a network or of an optimizer, if it has one."""
        part = plain(part)
        return next((engine for engine in self.engines if part in (engine.network, engine.optimizer)), None)

    def optimizer_step(self, optimizer: Optimizer, closure: Any, model: Any = None, **kwargs: Any) -> Any:
        """Counts a step that the engine has done."""
        return closure()

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True

    @property
    def lightning_restore_optimizer(self) -> bool:
        return False

    def load_model_state_dict(self, checkpoint: Any, strict: bool = True) -> None:
        """``load_checkpoint`` has done it."""

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """This rank's parts. Tied parameters are one object under two names."""
        assert self.model is not None
        return {name: self._weight(tensor) for name, tensor in self.model.state_dict(keep_vars=True).items()}

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """This rank's parts, parameters numbered as on a single device."""
        engine = self.engine_of(optimizer)
        assert engine is not None
        return engine.states()

    @torch.no_grad()
    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Fills weights and optimizers; returns the rest of the checkpoint."""
        assert self.model is not None
        weights = self.model.state_dict(keep_vars=True)

        def take(name: str, shape: torch.Tensor, first: torch.Tensor | None) -> torch.Tensor:
            whole = hand_out(first, shape, torch.empty(0, device=self.root_device))
            part, _, name = name.partition("/")
            if part == "state_dict":
                engine = self._engine_with(weights[name])
                if engine is None:
                    weights[name].copy_(whole)
                else:
                    engine.put_weight(weights[name], whole)
            else:
                number, _, index, key = name.split("/")
                self.engines[int(number)].put_state(int(index), key, whole)
            return torch.empty(0)

        checkpoint = handed_out(checkpoint_path, self.is_global_zero, weights.keys(), take)
        del checkpoint["state_dict"]
        for engine, state in zip(self.engines, checkpoint.pop("optimizer_states"), strict=True):
            engine.put_options(state["param_groups"])
            for index, own in state["state"].items():
                for key, value in own.items():
                    if not isinstance(value, torch.Tensor) or not value.dim():
                        engine.put_state(index, key, torch.as_tensor(value))
        return checkpoint

    def teardown(self) -> None:
        for engine in self.engines:
            engine.close()
        self.engines = []
        self._until_teardown.close()
        super().teardown()

    def _engine_with(self, parameter: torch.Tensor) -> ZeroEngine | None:
        return next((e for e in self.engines if any(parameter is own for own in e.network.parameters())), None)

    def _weight(self, tensor: torch.Tensor) -> Any:
        engine = self._engine_with(tensor)
        return tensor if engine is None else engine.weight(tensor)


def _owner(module: nn.Module, optimizer: Optimizer) -> nn.Module:
    """The network of a stage whose parameters an optimizer steps."""
    first = optimizer.param_groups[0]["params"][0]
    return next(child for child in module.children() if any(first is own for own in child.parameters()))


for _stage in (2, 3):
    for _offload, _suffix in ((False, ""), (True, "_offload")):
        StrategyRegistry.register(
            f"deepspeed_stage_{_stage}{_suffix}",
            ZeroStrategy,
            description="DeepSpeed's ZeRO, an engine a network",
            override=True,
            stage=_stage,
            offload=_offload,
        )
