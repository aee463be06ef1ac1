"""Updates with global denominators: ranks sum their gradients, and a step that is not finite is left out."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric
from transformers import get_scheduler

from modules.across_ranks import AcrossRanks
from modules.nonfinite import NonFiniteGuard
from modules.zero_strategy import ZeroStrategy
from prism_pl.metrics.collection import StepMetrics, means, sums
from prism_pl.model.packing import Suspects
from prism_pl.model.sharding import average_whole, gradient_norm
from prism_pl.model.zero import ZeroEngine
from prism_pl.ranges import NonNegativeInt, Share


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """The learning rate over policy updates."""

    kind: Literal["constant", "cosine"] = "constant"
    """``constant`` or ``cosine`` (to zero)."""
    warmup_ratio: Share = 0.0
    """Share of the updates over which the rate rises linearly from zero."""
    warmup_steps: NonNegativeInt = 0
    """The same in updates; used when ``warmup_ratio`` is 0."""


class Updates(AcrossRanks):
    """Optimizers of a stage, stepped by hand. The main one advances ``trainer.global_step`` and the schedule."""

    optimizer: OptimizerCallable
    schedule: ScheduleOptions
    clip_norm: float
    guard: NonFiniteGuard
    metrics: StepMetrics
    _main: tuple[nn.Module, ...]
    """What the main optimizer trains."""

    def make_optimizer(self, model: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """The main optimizer over a model's trainable parameters, with the stage's schedule."""
        self._main = (model,)
        built = self.step_together(self.optimizer([p for p in model.parameters() if p.requires_grad]))
        total = int(self.trainer.estimated_stepping_batches)
        warmup = round(self.schedule.warmup_ratio * total) or self.schedule.warmup_steps
        kind = "constant_with_warmup" if self.schedule.kind == "constant" else self.schedule.kind
        return built, get_scheduler(kind, built, num_warmup_steps=warmup, num_training_steps=total)

    def step_together(self, optimizer: Optimizer) -> Optimizer:
        """Has an optimizer of sharded weights step many tensors at a time, as torch does by itself for whole ones on a GPU.

        What the configuration says of ``foreach`` or ``fused`` stands.
        """
        for group in optimizer.param_groups:
            if self.device_mesh is not None and group.get("foreach", False) is None and not group.get("fused"):
                group["foreach"] = True
        return optimizer

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

    def backward_share(self, loss: torch.Tensor, suspects: Suspects | None = None) -> None:
        """Backward of a loss with global denominators: ranks are summed, where the strategy would average them.

        ``suspects`` names rows if the loss is not finite. The backward is done all the same: it is a collective.
        """
        self.guard.look(loss, suspects)
        # A loss that is not finite makes the gradient so: DeepSpeed's engine looks at that alone before it steps.
        self.manual_backward(loss * torch.where(loss.detach().isfinite(), self.trainer.world_size, torch.nan))

    def engine_of(self, part: Any) -> ZeroEngine | None:
        """DeepSpeed's engine of a network or an optimizer, under its strategy."""
        strategy = self.trainer.strategy
        return strategy.engine_of(part) if isinstance(strategy, ZeroStrategy) else None

    def runs(self, network: Any) -> Any:
        """What is called for a pass of a network: itself, or the engine that has it."""
        return self.engine_of(network) or network

    def backward_filler(self, output: torch.Tensor) -> None:
        """The backward of a filler, of whatever the network gave for it: every gradient is zero."""
        self.manual_backward(0.0 * output.sum())

    def update_metrics(self, name: str) -> dict[str, Metric]:
        """What ``apply_gradients`` adds to."""
        return means(f"{name}/gradient_norm", f"{name}/learning_rate") | sums(f"{name}/skipped_updates")

    def apply_gradients(self, optimizer: Any, name: str) -> None:
        """Clips, steps and clears; logs the norm before clipping. The main optimizer's steps advance ``global_step`` and
        its schedule.

        If the loss or the gradient is not finite on any rank, all ranks leave the update out: weights, optimizer, schedule
        and ``global_step`` stay as they are. Raises UserError at ``nonfinite_limit`` in a row.
        """
        engine, trained = self.engine_of(optimizer), []
        if engine is None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            average_whole(parameters)
            trained = [parameter for parameter in parameters if parameter.grad is not None]
            norm = gradient_norm(trained)
        else:
            # It clips and steps if the gradient is finite, and clears it.
            norm = engine.step()
        self.metrics.add(f"{name}/gradient_norm", norm)
        self.metrics.add(f"{name}/learning_rate", optimizer.param_groups[0]["lr"])
        not_finite, suspects = self.guard.take(norm)
        # Here the update's losses are waited for, all at once.
        if self.all_reduce(not_finite, "max"):
            self._clear(optimizer)
            self._leave_out(name, suspects())
            return
        self.guard.applied(name)
        self._count_skipped(name, 0)
        # By the norm that is known; Lightning would take it again, and refuses fused optimizers.
        torch.nn.utils.clip_grads_with_norm_(trained, self.clip_norm, norm)
        # Under DeepSpeed a count alone.
        if optimizer is self.main_optimizer:
            optimizer.step()
            self.main_schedule.step()
        else:
            self.trainer.strategy.optimizer_step(optimizer.optimizer, closure=lambda: None, model=self)
        self._clear(optimizer)

    def _clear(self, optimizer: Any) -> None:
        if self.engine_of(optimizer) is None:
            optimizer.zero_grad()

    def _leave_out(self, name: str, suspects: list[str]) -> None:
        self._count_skipped(name, 1)
        everyone = [suspect for own in self.gather(suspects) for suspect in own]
        self.guard.left_out(name, self.trainer.global_step, everyone, speaks=self.trainer.is_global_zero)

    def _count_skipped(self, name: str, count: int) -> None:
        # All ranks skip alike, and their sums are added up.
        if self.trainer.is_global_zero:
            self.metrics.add(f"{name}/skipped_updates", count)
