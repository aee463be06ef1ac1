"""DeepSpeed's ZeRO (arXiv 1910.02054) around one network and its optimizer, as many of them as a stage trains.

    stage 2: moments, fp32 weights and gradients in shares, the weights themselves whole on every rank
    stage 3: all of them in shares; a module's weights are gathered for its pass

The optimizer sees one flat tensor a parameter group, of which each rank has a run of numbers. ``master`` and ``states``
find a parameter's part in it again, so that a checkpoint has the names and numbers of a single device.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from prism_pl.environment import variables
from prism_pl.errors import UserError
from prism_pl.runs.fragments import Fragment

ELEMENTWISE = ("Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD")
"""Optimizers that treat every number alike: on a run of numbers they do what they do on the whole."""


def check_installed() -> None:
    """Raises UserError if there is no DeepSpeed."""
    if find_spec("deepspeed") is None:
        raise UserError(
            'trainer.strategy: it needs the package deepspeed. Install it with `pip install -e ".[deepspeed]"`, or use '
            "`--trainer.strategy fsdp2`."
        )


class ZeroEngine:
    """A network in DeepSpeed's hands. All ranks must make the same calls of it, each forward followed by its backward.

    Args:
        network: on its device, whole on every rank.
        optimizer: over the network's parameters.
        config: DeepSpeed's.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer, config: dict[str, Any]) -> None:
        if type(optimizer).__name__ not in ELEMENTWISE:
            raise UserError(
                f"model.optimizer: DeepSpeed cuts weights anywhere, and {type(optimizer).__name__} needs whole ones. Take "
                f"one of torch.optim's {', '.join(ELEMENTWISE)}, or `--trainer.strategy fsdp2`."
            )
        self.network = network
        self.optimizer = optimizer
        groups = [list(group["params"]) for group in optimizer.param_groups]
        self.parameters = [parameter for group in groups for parameter in group]
        """Numbered as the optimizer of a single device does."""
        self._group = {id(parameter): number for number, group in enumerate(groups) for parameter in group}
        self._sizes = [len(group) for group in groups]
        self._pending = False
        self._made: dict[int, Fragment] = {}
        import deepspeed

        # On a CPU it would compile this one, for inference, and wait for ever if a compilation was once killed.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._engine, *_ = deepspeed.initialize(model=network, optimizer=optimizer, config=config, dist_init_required=False)
        self._zero: Any = self._engine.optimizer
        self.shards_weights = bool(self._engine.zero_optimization_partition_weights())

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """A pass of the network."""
        if torch.is_grad_enabled():
            self._pending = True
        return self._engine(*inputs, **options)

    def step(self) -> torch.Tensor:
        """Clips and steps; returns the gradient's norm before clipping.

        A gradient that is not finite changes nothing, and its norm is NaN. Without a pass since the last step there is no
        gradient: 0.
        """
        if not self._pending:
            return torch.zeros((), device=self._engine.device)
        self._pending = False
        self._engine.step()
        norm = torch.as_tensor(self._engine.get_global_grad_norm(), device=self._engine.device)
        return norm if self._engine.was_step_applied() else torch.full_like(norm, torch.nan)

    def master(self, parameter: Any) -> Fragment:
        """This rank's part of a parameter in fp32: the optimizer's of a trained one."""
        if id(parameter) in self._made:
            return self._made[id(parameter)]
        if id(parameter) in self._group:
            flat, start, made = self._place(parameter)
            own = flat.detach().narrow(0, start, len(made.own))
        else:
            made = _share(parameter)
            own = parameter.ds_tensor.detach().narrow(0, 0, len(made.own))
        self._made[id(parameter)] = Fragment(own, made.offset, made.shape)
        return self._made[id(parameter)]

    def weight(self, parameter: Any) -> torch.Tensor | Fragment:
        """What a checkpoint holds of a parameter of the network."""
        whole = not self.shards_weights and id(parameter) not in self._group
        return parameter if whole else self.master(parameter)

    def put_weight(self, parameter: Any, whole: torch.Tensor) -> None:
        """Sets a parameter, of which every rank has the ``whole`` for a moment."""
        if not self.shards_weights:
            parameter.data.copy_(whole)
        else:
            share = _share(parameter)
            parameter.ds_tensor.data.narrow(0, 0, len(share.own)).copy_(share.of(whole))
            if parameter.data.numel() == whole.numel():  # a small one that stays gathered
                parameter.data.copy_(whole)
        if id(parameter) in self._group:
            self.master(parameter).fill(whole)

    def states(self) -> dict[str, Any]:
        """The optimizer's state dict as a single device numbers it, with this rank's parts."""
        state: dict[int, dict[str, Any]] = {}
        for number, parameter in enumerate(self.parameters):
            flat, start, part = self._place(parameter)
            own = self.optimizer.state.get(flat)
            if own:
                state[number] = {key: _part(value, flat, start, part) for key, value in own.items()}
        numbers = iter(range(len(self.parameters)))
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            | {"params": [next(numbers) for _ in range(size)]}
            for group, size in zip(self.optimizer.param_groups, self._sizes, strict=True)
        ]
        return {"state": state, "param_groups": groups}

    def put_state(self, number: int, key: str, whole: torch.Tensor) -> None:
        """Sets one state of a parameter, of which every rank has the whole for a moment: a moment, or a count of steps."""
        parameter = self.parameters[number]
        flat, start, part = self._place(parameter)
        own = self.optimizer.state[flat]
        if not whole.dim():
            group = self.optimizer.param_groups[self._group[id(parameter)]]
            # As torch's own loading does it.
            own[key] = whole.to(flat.device if group.get("fused") or group.get("capturable") else "cpu").clone()
            return
        if key not in own:
            own[key] = torch.zeros_like(flat)
        own[key].detach().narrow(0, start, len(part.own)).copy_(part.of(whole))

    def put_options(self, groups: Sequence[dict[str, Any]]) -> None:
        """Sets the options of the optimizer's groups, the learning rate among them."""
        for own, group in zip(self.optimizer.param_groups, groups, strict=True):
            own.update({key: value for key, value in group.items() if key != "params"})

    def close(self) -> None:
        """Takes DeepSpeed's hooks off."""
        self._engine.destroy()

    def _place(self, parameter: Any) -> tuple[torch.Tensor, int, Fragment]:
        """The flat tensor of the optimizer that has this rank's part of a parameter, where in it, and which part."""
        if self.shards_weights:
            number, start, _ = self._zero.grad_position[self._zero.get_param_id(parameter)]
            return self._zero.fp32_partitioned_groups_flat[number], start, _share(parameter)
        flat = self._zero.single_partition_of_fp32_groups[self._group[id(parameter)]]
        mapping: Any = parameter._hp_mapping
        if mapping is None:
            return flat, 0, _empty(0, 0, parameter.shape)
        address = mapping.lp_fragment_address
        return flat, mapping.hp_fragment_address.start, _empty(address.numel, address.start, parameter.shape)


def _share(parameter: Any) -> Fragment:
    """Which part of a parameter stage 3 gives this rank: all have equally many, the last ones padding."""
    total, size = parameter.ds_numel, parameter.ds_tensor.ds_numel
    offset = min(dist.get_rank() * size, total)
    return _empty(min(size, total - offset), offset, torch.Size(parameter.ds_shape))


def _empty(numel: int, offset: int, shape: torch.Size) -> Fragment:
    return Fragment(torch.empty(numel, device="meta"), offset, shape)


def _part(value: Any, flat: torch.Tensor, start: int, part: Fragment) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    if value.shape != flat.shape:
        # A count of steps of its own for each parameter: a single device would count one that they share for each of them.
        return value.clone()
    return Fragment(value.detach().narrow(0, start, len(part.own)), part.offset, part.shape)


@contextmanager
def launched(device: torch.device, local_rank: int) -> Iterator[None]:
    """DeepSpeed looks for its launcher's variables, in every pass; it is not its launcher that has started this process."""
    if device.type == "cuda":
        chosen = {"LOCAL_RANK": str(device.index)}  # with which it chooses the GPU
    else:
        chosen = {"LOCAL_RANK": str(local_rank), "DS_ACCELERATOR": "cpu"}
    with variables(chosen):
        yield
