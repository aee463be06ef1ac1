"""Stage 1: supervised fine-tuning on demonstrations."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torchmetrics import Metric

from modules.stage import StageModule
from modules.updates import ScheduleOptions
from prism_pl.algorithms.supervised import supervised_loss, supervised_metrics
from prism_pl.contracts import Exportable
from prism_pl.metrics.collection import means
from prism_pl.metrics.timing import seconds, timed
from prism_pl.model.packing import make_groups, nonfinite_segments
from prism_pl.model.policy import SupervisedPolicyOptions
from prism_pl.types import Demonstration


class SFTModule(StageModule):
    """Cross-entropy on response tokens, averaged over all of an update's tokens.

    Args:
        policy: the model to start from; vision tower and projector are frozen unless it says otherwise.
        optimizer: ``class_path`` and ``init_args``.
        schedule: its learning rate over updates.
    """

    watched = ("sft/loss", "sft/tokens_per_second")

    def __init__(
        self,
        policy: SupervisedPolicyOptions,
        optimizer: OptimizerCallable,
        schedule: ScheduleOptions = ScheduleOptions(kind="cosine", warmup_ratio=0.1),  # noqa: B008 (frozen)
        **shared: Any,
    ) -> None:
        super().__init__(optimizer, schedule, **shared)
        self.policy_options = policy
        self.policy_path = policy.path

    def build(self) -> None:
        self.policy = self.policy_options.build("model.policy", as_stored=True)
        self.prepare(self.policy)

    def step_metrics(self) -> dict[str, Metric]:
        own = supervised_metrics() | self.update_metrics("policy") | seconds("update")
        return own | means("sft/tokens_per_second")

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.policy)
        return [optimizer], [schedule]

    def training_step(self, batch: list[Demonstration], batch_idx: int) -> None:
        groups = make_groups([item.prompt for item in batch], [[item.response_ids] for item in batch])
        num_tokens = float(self.all_reduce(float(sum(item.num_learnt for item in batch))))
        with timed("update", self.metrics) as watch:
            for packed, is_filler in self.micro_batches(groups):
                likelihood, logp_BT, entropy_BT = self.runs(self.policy)(packed, likelihood=True)
                if is_filler:
                    self.backward_filler(likelihood)
                    continue
                mask_BT = packed.token_mask_BT
                loss = supervised_loss(likelihood, logp_BT, entropy_BT, mask_BT, num_tokens, self.metrics)
                self.backward_share(loss, nonfinite_segments(logp_BT, packed.order_B, groups))
            self.apply_gradients(self.main_optimizer, "policy")
        self.metrics.add("sft/tokens_per_second", num_tokens / watch.seconds)
        self.report(self.metrics)

    def policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self.policy.weights()

    def exports(self) -> dict[str, Exportable]:
        return {"model": self.policy}
