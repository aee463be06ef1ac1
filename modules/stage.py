"""What all stages share: manual optimization with global denominators, micro-batches that keep ranks in step, metrics.

``trainer.global_step`` counts policy updates (in warm-up: discriminator updates), because only the main optimizer is
stepped through Lightning's counter. ``max_steps``, checkpoints and loggers follow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from prism_pl.errors import UserError
from prism_pl.metrics.means import Means
from prism_pl.model.adapters import LoraOptions
from prism_pl.model.attention import Attention, use_attention
from prism_pl.model.packing import Group, PackedBatch, micro_batches, pack
from prism_pl.model.policy import FreezeOptions, Policy
from prism_pl.model.sharding import Layered, shard


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """The learning rate over policy updates."""

    kind: str = "constant"
    """``constant`` or ``cosine`` (to zero)."""
    warmup_ratio: float = 0.0
    """Share of the updates over which the rate rises linearly from zero."""
    warmup_steps: int = 0
    """The same in updates; used when ``warmup_ratio`` is 0."""


class StageModule(L.LightningModule):
    """Base of the four stages.

    Args:
        optimizer: the main optimizer, ``class_path`` and ``init_args``.
        schedule: its learning rate over updates.
        clip_norm: gradients are clipped to this norm.
        max_tokens: tokens of a micro-batch, the memory knob; the result does not depend on it.
        attention: ``shared_prefix`` everywhere, or ``flex_attention`` with a compiled block mask on a GPU; micro-batches
            are then padded to ``max_tokens``.
        gradient_checkpointing: compute the policy's activations again in the backward pass, for less memory.
    """

    watched: tuple[str, ...] = ()
    """Metrics shown on the progress bar."""
    latest: dict[str, float]
    """The last value of every metric, for callbacks that watch."""

    def __init__(
        self,
        optimizer: OptimizerCallable,
        schedule: ScheduleOptions = ScheduleOptions(),
        clip_norm: float = 1.0,
        max_tokens: int = 8192,
        gradient_checkpointing: bool = False,
        attention: Attention = "shared_prefix",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.latest: dict[str, float] = {}
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.max_tokens = max_tokens
        self.gradient_checkpointing = gradient_checkpointing
        self.attention = attention

    def exports(self) -> dict[str, Any]:
        """Models to write at the end, by folder name: objects with ``weights()``, ``adapters()`` and ``save()``."""
        raise NotImplementedError

    def load_policy(self, name: str, freeze: FreezeOptions, lora: LoraOptions | None) -> Policy:
        """The policy of ``model.policy``, its parts frozen, with adapters if asked for, sharded if the strategy shards."""
        policy = Policy.load(name, "model.policy")
        policy.freeze(freeze)
        if lora is not None:
            policy.add_lora(lora)
        use_attention(policy.vlm.model, self.attention)
        if self.gradient_checkpointing:
            policy.vlm.gradient_checkpointing_enable({"use_reentrant": False})
        self.shard_if_needed(policy)
        # Loaded models come in eval mode, in which checkpointing does nothing. There is no dropout.
        return policy.train()

    def load_reference(self, name: str) -> Policy:
        """A frozen policy, sharded like the one that is trained."""
        reference = Policy.load(name, "model.reference")
        reference.requires_grad_(False)
        use_attention(reference.vlm.model, self.attention)
        self.shard_if_needed(reference)
        return reference.eval()

    def shard_if_needed(self, model: Layered) -> None:
        """Shards a freshly loaded model when the strategy has a device mesh; refuses strategies that cannot hold two."""
        if self.trainer.world_size == 1:
            return
        if self.device_mesh is None:
            name = type(self.trainer.strategy).__name__
            raise UserError(
                f"trainer.strategy: {name} cannot run several backward passes an update on {self.trainer.world_size} "
                f"devices. Use `--trainer.strategy fsdp2`."
            )
        shard(model, self.device_mesh["data_parallel"])

    def make_optimizer(self, model: nn.Module, optimizer: OptimizerCallable) -> tuple[Optimizer, LRScheduler]:
        """The optimizer over a model's trainable parameters, with the stage's schedule."""
        built = optimizer([parameter for parameter in model.parameters() if parameter.requires_grad])
        total = int(self.trainer.estimated_stepping_batches)
        warmup = round(self.schedule.warmup_ratio * total) or self.schedule.warmup_steps
        kind = "constant_with_warmup" if self.schedule.kind == "constant" else self.schedule.kind
        return built, get_scheduler(kind, built, num_warmup_steps=warmup, num_training_steps=total)

    @property
    def main_optimizer(self) -> Any:
        """The first optimizer; Lightning returns one or a list."""
        optimizers = self.optimizers()
        return optimizers[0] if isinstance(optimizers, list) else optimizers

    @property
    def main_schedule(self) -> Any:
        """The main optimizer's schedule."""
        schedules = self.lr_schedulers()
        return schedules[0] if isinstance(schedules, list) else schedules

    def rounds(self, groups: Sequence[Group], spare: Sequence[Group] = ()) -> Iterator[tuple[PackedBatch, bool]]:
        """Packed micro-batches, and whether each counts: a rank with fewer than the others repeats its last one.

        Forward and backward of a sharded model are collectives, so all ranks must do the same number of them. ``spare`` is
        what a rank without any group goes through when another has one.
        """
        # One shape to compile for, and whole blocks of a block mask.
        num_tokens, multiple = (self.max_tokens, 128) if self.attention == "flex_attention" else (0, 1)
        batches = micro_batches(groups, self.max_tokens)
        count = int(self.global_sum(torch.tensor(len(batches)), "max"))
        for index in range(count):
            batch = batches[min(index, len(batches) - 1)] if batches else spare
            yield pack(batch, num_tokens, multiple).to(self.device), index < len(batches)

    def global_sum(self, value: torch.Tensor | float, op: str = "sum") -> torch.Tensor:
        """Reduced over ranks."""
        tensor = torch.as_tensor(value, dtype=torch.float64, device=self.device)
        return self.trainer.strategy.reduce(tensor.clone(), reduce_op=op)

    def whole_batch(self, own: list[Any]) -> list[Any]:
        """The values of all ranks' rows, in the order of the batch: rank r of w has every w-th row from r on."""
        if self.trainer.world_size == 1:
            return own
        shares: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(shares, own)
        return [share[row] for row in range(len(shares[0])) for share in shares if row < len(share)]

    def whole_rows(self, own: torch.Tensor) -> torch.Tensor:
        """A tensor of all ranks' rows, in the order of the batch; a gradient reaches this rank's own rows only."""
        rows = torch.stack(self.whole_batch(list(own.detach())))
        places = torch.arange(self.global_rank, len(rows), self.trainer.world_size)
        return rows.index_copy(0, places, own)

    def backward_share(self, loss: torch.Tensor, counts: bool) -> None:
        """Backward of a loss with global denominators: ranks are summed, where the strategy would average them."""
        self.manual_backward(loss * (self.trainer.world_size if counts else 0.0))

    def apply_gradients(self, optimizer: Any, name: str, means: Means, *, counted: bool) -> None:
        """Clips, steps and clears; logs the norm before clipping. ``counted`` steps advance ``trainer.global_step``."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        means.add(f"{name}/gradient_norm", norm)
        means.add(f"{name}/learning_rate", optimizer.param_groups[0]["lr"])
        self.clip_gradients(optimizer, gradient_clip_val=self.clip_norm, gradient_clip_algorithm="norm")
        if counted:
            optimizer.step()
        else:
            self.trainer.strategy.optimizer_step(optimizer.optimizer, closure=lambda: None, model=self)
        optimizer.zero_grad()

    def finished(self) -> bool:
        """True once ``trainer.max_steps`` updates are done, also in the middle of a rollout batch."""
        return 0 <= self.trainer.max_steps <= self.trainer.global_step

    def report(self, means: Means) -> None:
        """Logs the means over all micro-batches and ranks, at the number of updates done."""
        # Straight to the loggers: `self.log` would count batches as steps, and would repeat a value (a probe's, say) in
        # every later step that has none.
        metrics = means.result(self.global_sum(means.stacked()))
        self.publish(metrics)
        for name in self.watched:
            if name in metrics:
                self.log(name, metrics[name], prog_bar=True, logger=False)

    def publish(self, metrics: dict[str, float]) -> None:
        """To the loggers, and to callbacks that watch ``latest``."""
        self.latest |= metrics
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics, step=self.trainer.global_step)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches stay on the CPU until they are packed."""
        return batch
