"""What all stages share: manual optimization with global denominators, micro-batches that keep ranks in step, metrics.

``trainer.global_step`` counts policy updates (in warm-up: discriminator updates), because only the main optimizer is
stepped through Lightning's counter. ``max_steps``, checkpoints and loggers follow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric
from transformers import get_scheduler

from modules.nonfinite import NonFiniteGuard
from modules.replicated_strategy import ReplicatedStrategy
from modules.strategy import FSDP2Strategy
from modules.throughput import FLOPS, TOKENS, PassSizes, architecture_of, pass_flops, rates
from modules.zero_strategy import ZeroStrategy
from prism_pl.contracts import Exportable
from prism_pl.errors import UserError
from prism_pl.heartbeat import enter, within
from prism_pl.metrics.collection import StepMetrics, means, sums
from prism_pl.model.attention import Attention, padded_shape, use_attention
from prism_pl.model.exporting import ExportDtype
from prism_pl.model.packing import FILLER, Group, PackedBatch, Suspects, micro_batches, pack
from prism_pl.model.policy import Policy
from prism_pl.model.sharding import Layered, average_whole, gradient_norm, place_rows, shard, sum_over_nodes
from prism_pl.model.zero import ZeroEngine
from prism_pl.planning import Architecture
from prism_pl.ranges import NonNegativeInt, PositiveFloat, PositiveInt, Share
from prism_pl.ranks import gather_objects
from prism_pl.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """The learning rate over policy updates."""

    kind: Literal["constant", "cosine"] = "constant"
    """``constant`` or ``cosine`` (to zero)."""
    warmup_ratio: Share = 0.0
    """Share of the updates over which the rate rises linearly from zero."""
    warmup_steps: NonNegativeInt = 0
    """The same in updates; used when ``warmup_ratio`` is 0."""


class StageModule(L.LightningModule):
    """Base of the four stages.

    Args:
        optimizer: the main optimizer, ``class_path`` and ``init_args``.
        schedule: its learning rate over updates.
        clip_norm: gradients are clipped to this norm.
        max_tokens: tokens of a micro-batch, the memory knob; the result does not depend on it.
        attention: ``auto`` is ``flex_attention`` on a GPU, with a compiled block mask and micro-batches that are padded to
            ``max_tokens``, and ``shared_prefix`` on a CPU.
        export_dtype: precision of the models that are written; the checkpoint keeps fp32. ``auto`` is that of the model
            that the stage starts from.
        nonfinite_limit: an update whose loss or gradient is not finite is left out; the run stops at this many in a row.
    """

    watched: tuple[str, ...] = ()
    """Metrics shown on the progress bar."""
    policy_path: str
    """The model that the stage starts from."""

    _repeats_over_nodes = False

    def __init__(
        self,
        optimizer: OptimizerCallable,
        schedule: ScheduleOptions = ScheduleOptions(),
        clip_norm: PositiveFloat = 1.0,
        max_tokens: PositiveInt = 8192,
        attention: Attention = "auto",
        export_dtype: ExportDtype = "auto",
        nonfinite_limit: PositiveInt = 3,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.latest: dict[str, float] = {}
        """The last value of every metric, for callbacks that watch."""
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.max_tokens = max_tokens
        self.attention = attention
        self.export_dtype = export_dtype
        self.guard = NonFiniteGuard(nonfinite_limit)
        self._sizes: PassSizes | None = None
        # In a tuple: as a module's own attribute it would be in checkpoints twice.
        self._main: tuple[nn.Module, ...] = ()

    def configure_model(self) -> None:
        if not hasattr(self, "metrics"):
            with within("loading"):
                self.build()
            own = means("packing/idle_share", "packing/padding_share") | sums(TOKENS, FLOPS)
            self.metrics = StepMetrics(self.step_metrics() | own)

    def on_train_start(self) -> None:
        enter("step")

    def build(self) -> None:
        """Loads the networks."""
        raise NotImplementedError

    def step_metrics(self) -> dict[str, Metric]:
        """What a step adds to ``metrics``, declared before the first one."""
        raise NotImplementedError

    def exports(self) -> dict[str, Exportable]:
        """Networks to write at the end, by folder name; the first is the stage's result."""
        raise NotImplementedError

    def heldout_metrics(self) -> dict[str, Metric]:
        """What ``add_heldout_metrics`` adds to."""
        return {}

    def add_heldout_metrics(self, rollouts: Rollouts, metrics: StepMetrics) -> None:
        """The stage's own figures on held-out prompts."""

    def prepare(self, model: Layered) -> None:
        """Sets a freshly loaded network's attention and makes it fp32, in this rank's shards if the strategy has any. With
        shards it computes in ``trainer.precision``."""
        backbone: Any = model.vlm.model if isinstance(model, Policy) else model.model  # type: ignore[attr-defined]
        use_attention(backbone, self.attention)
        if self.device_mesh is not None:
            compute = torch.bfloat16 if self.trainer.precision == "bf16-mixed" else torch.float32
            strategy = self.trainer.strategy
            assert isinstance(strategy, FSDP2Strategy)
            self._repeats_over_nodes = strategy.hybrid
            shard(model, strategy.sharding_mesh, compute, offload=strategy.offload)
        elif isinstance(self.trainer.strategy, ZeroStrategy):
            self.trainer.strategy.take(model, backbone.visual)
        elif isinstance(self.trainer.strategy, ReplicatedStrategy):
            self.trainer.strategy.take(model)
        elif self.trainer.world_size > 1:
            name = type(self.trainer.strategy).__name__
            raise UserError(
                f"trainer.strategy: {name} cannot run several backward passes an update on {self.trainer.world_size} "
                f"devices. Use `--trainer.strategy fsdp2`."
            )
        model.float()  # type: ignore[attr-defined]
        architecture = architecture_of(model)
        model.register_forward_pre_hook(lambda network, _: self._count(network, architecture))  # type: ignore[attr-defined]

    def _count(self, network: nn.Module, architecture: Architecture) -> None:
        """A pass of a network through the micro-batch that ``micro_batches`` has given last."""
        if self._sizes is None:
            return
        learns = torch.is_grad_enabled()
        self.metrics.add(FLOPS, pass_flops(architecture, self._sizes, learns=learns))
        self.metrics.add(TOKENS, float(self._sizes.tokens if learns and network in self._main else 0))

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

    def micro_batches(self, groups: Sequence[Group]) -> Iterator[tuple[PackedBatch, bool]]:
        """Packed micro-batches, and whether each is filler: a rank with fewer than the others goes through two tokens.

        Forward and backward of a sharded model are collectives, so all ranks must do the same number of them. Nothing of a
        filler may be read or learnt; its backward has to be done.

        Logs, of training passes, ``packing/idle_share``, one minus this rank's tokens over those of the rank with the most,
        and ``packing/padding_share``, the padded ones of the tokens that it computes.
        """
        num_tokens, multiple = padded_shape(self.attention, self.device, self.max_tokens)
        batches = micro_batches(groups, self.max_tokens)
        own = [sum(group.num_tokens for group in batch) for batch in batches]
        count, most = self.all_reduce(torch.tensor([len(batches), sum(own)]), "max").tolist()
        computed = 0
        for index in range(int(count)):
            is_filler = index >= len(batches)
            packed = pack([FILLER] if is_filler else batches[index], num_tokens, multiple)
            computed += len(packed.input_ids_N)
            self._sizes = None if is_filler else PassSizes.of(batches[index])
            if self._repeats_over_nodes:
                sum_over_nodes(self, now=index == int(count) - 1)
            yield packed.to(self.device), is_filler
        self._sizes = None
        if count and torch.is_grad_enabled():
            self.metrics.add("packing/idle_share", 1 - sum(own) / most)
            self.metrics.add("packing/padding_share", 1 - sum(own) / computed)

    def all_reduce(self, value: torch.Tensor | float, op: str = "sum") -> torch.Tensor:
        """The sum, or another reduction, over ranks."""
        tensor = torch.as_tensor(value, dtype=torch.float64, device=self.device)
        return self.trainer.strategy.reduce(tensor.clone(), reduce_op=op)

    def gather(self, own: Any) -> list[Any]:
        """Every rank's object, in the order of the ranks."""
        return gather_objects(own)

    def places(self, count: int) -> Sequence[int]:
        """Where this rank's ``count`` rows are in the batch before it is dealt: every w-th of w ranks, from its own on."""
        return range(self.global_rank, self.global_rank + count * self.trainer.world_size, self.trainer.world_size)

    def whole_batch(self, own: list[Any], places: Sequence[int] | None = None) -> list[Any]:
        """The values of all ranks' rows, in the order of the batch; ``places`` there of this rank's, if they were dealt."""
        placed = zip(self.places(len(own)) if places is None else places, own, strict=True)
        everyone = [pair for share in self.gather(list(placed)) for pair in share]
        return [value for _, value in sorted(everyone, key=lambda pair: pair[0])]

    def whole_rows(self, own: torch.Tensor, places: Sequence[int] | None = None) -> torch.Tensor:
        """A tensor of all ranks' rows, in the order of the batch; a gradient reaches this rank's own rows only."""
        places = self.places(len(own)) if places is None else places
        return place_rows(torch.stack(self.whole_batch(list(own.detach()), places)), own, places)

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

    def finished(self) -> bool:
        """True once ``trainer.max_steps`` updates are done, also in the middle of a rollout batch."""
        return 0 <= self.trainer.max_steps <= self.trainer.global_step

    def report(self, metrics: StepMetrics) -> dict[str, float]:
        """Logs the values over all micro-batches and ranks, at the number of updates done, and resets them.

        Straight to the loggers: ``self.log`` would count batches as steps, and would repeat a value (a probe's, say) in
        every later step that has none.
        """
        values = metrics.result(self._all_gather if self.trainer.world_size > 1 else None)
        metrics.reset()
        if metrics is self.metrics:
            seconds = sum(value for name, value in (self.latest | values).items() if name.startswith("seconds/"))
            values = rates(values, seconds, self.trainer.world_size, self.device)
        self.latest |= values
        for logger in self.trainer.loggers:
            logger.log_metrics(values, step=self.trainer.global_step)
        for name in (*self.watched, "throughput/flops_share"):
            if name in values:
                self.log(name, values[name], prog_bar=True, logger=False)
        return values

    def _all_gather(self, own_N: torch.Tensor) -> torch.Tensor:
        gathered = self.all_gather(own_N.to(self.device))
        assert isinstance(gathered, torch.Tensor)
        return gathered.to(own_N.device)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches stay on the CPU until they are packed."""
        return batch
