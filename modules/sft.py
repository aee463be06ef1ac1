"""Stage 1: supervised fine-tuning on demonstrations."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable

from modules.stage import ScheduleOptions, StageModule
from prism_pl.metrics.means import Means
from prism_pl.metrics.timing import timed
from prism_pl.model.adapters import LoraOptions
from prism_pl.model.attention import Attention
from prism_pl.model.packing import make_groups
from prism_pl.model.policy import FreezeOptions
from prism_pl.types import Demonstration


class SFTModule(StageModule):
    """Cross-entropy on response tokens, averaged over all of an update's tokens.

    Args:
        policy: the model to start from.
        freeze: parts that are not trained.
        lora: adapters that are trained instead of the language model; null trains its weights.
    """

    watched = ("sft/loss", "sft/tokens_per_second")

    def __init__(
        self,
        policy: str,
        optimizer: OptimizerCallable,
        schedule: ScheduleOptions = ScheduleOptions(kind="cosine", warmup_ratio=0.1),  # noqa: B008
        freeze: FreezeOptions = FreezeOptions(),  # noqa: B008
        lora: LoraOptions | None = None,
        clip_norm: float = 1.0,
        max_tokens: int = 8192,
        gradient_checkpointing: bool = False,
        attention: Attention = "shared_prefix",
    ) -> None:
        super().__init__(optimizer, schedule, clip_norm, max_tokens, gradient_checkpointing, attention)
        self.policy_name = policy
        self.freeze_options = freeze
        self.lora = lora

    def configure_model(self) -> None:
        if not hasattr(self, "policy"):
            self.policy = self.load_policy(self.policy_name, self.freeze_options, self.lora)

    def configure_optimizers(self) -> Any:
        optimizer, schedule = self.make_optimizer(self.policy, self.optimizer)
        return [optimizer], [schedule]

    def training_step(self, batch: list[Demonstration], batch_idx: int) -> None:
        means = Means()
        groups = make_groups([item.prompt for item in batch], [[item.response_ids] for item in batch])
        num_tokens = self.global_sum(float(sum(len(item.response_ids) for item in batch)))
        with timed("update", means):
            for packed, counts in self.rounds(groups):
                logp_BT, entropy_BT = self.policy(packed)
                self.backward_share(-logp_BT.sum() / num_tokens.float(), counts)
                if counts:
                    means.add("sft/loss", -logp_BT[packed.token_mask_BT])
                    means.add("sft/entropy", entropy_BT[packed.token_mask_BT])
            self.apply_gradients(self.main_optimizer, "policy", means, counted=True)
            self.main_schedule.step()
        means.add("sft/tokens_per_second", float(num_tokens) / means.result()["seconds/update"])
        self.report(means)

    def exports(self) -> dict[str, Any]:
        return {"model": self.policy}
