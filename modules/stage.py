"""What all stages share: manual optimization with global denominators, micro-batches that keep ranks in step, metrics.

``trainer.global_step`` counts policy updates (in warm-up: discriminator updates), because only the main optimizer is
stepped through Lightning's counter. ``max_steps``, checkpoints and loggers follow.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn
from torchmetrics import Metric

from modules.nonfinite import NonFiniteGuard
from modules.replicated_strategy import ReplicatedStrategy
from modules.strategy import FSDP2Strategy
from modules.throughput import FLOPS, TOKENS, PassSizes, architecture_of, pass_flops, rates
from modules.updates import ScheduleOptions, Updates
from modules.zero_strategy import ZeroStrategy
from prism_pl.contracts import Exportable
from prism_pl.errors import UserError
from prism_pl.heartbeat import enter, within
from prism_pl.metrics.collection import StepMetrics, means, sums
from prism_pl.model.attention import Attention, padded_shape, use_attention
from prism_pl.model.exporting import ExportDtype
from prism_pl.model.packing import FILLER, Group, PackedBatch, micro_batches, pack
from prism_pl.model.policy import Policy
from prism_pl.model.sharding import Layered, shard, sum_over_nodes
from prism_pl.planning import Architecture
from prism_pl.ranges import PositiveFloat, PositiveInt
from prism_pl.types import Rollouts


class StageModule(Updates):
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
        schedule: ScheduleOptions = ScheduleOptions(),  # noqa: B008 (frozen)
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

    def finished(self) -> bool:
        """True once ``trainer.max_steps`` updates are done, also in the middle of a rollout batch."""
        return 0 <= self.trainer.max_steps <= self.trainer.global_step

    def report(self, metrics: StepMetrics) -> dict[str, float]:
        """Logs the values over all micro-batches and ranks, at the number of updates done, and resets them.

        Straight to the loggers: ``self.log`` would count batches as steps, and would repeat a value (a probe's, say) in
        every later step that has none.
        """
        values = metrics.result(self.gather_numbers if self.trainer.world_size > 1 else None)
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

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches stay on the CPU until they are packed."""
        return batch
