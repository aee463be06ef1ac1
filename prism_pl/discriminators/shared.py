"""One mixture and one head for both kinds: what PRISM's released code does.

every token reaches every expert through a learned top-k router; the text alone tells the kinds apart
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from transformers import AutoConfig, PreTrainedConfig

from prism_pl.discriminators.base import Mixture
from prism_pl.discriminators.routing import KINDS
from prism_pl.hub import DISCRIMINATOR_RECORD
from prism_pl.ranges import PositiveInt


@dataclass(frozen=True, kw_only=True)
class SharedMixtureDiscriminator(Mixture):
    """Also loads the released layout: a Qwen3VLMoe checkpoint with the head as ``v_head.1.weight``."""

    num_experts: PositiveInt = 4
    """Experts of each feed-forward layer."""
    readout: Literal["mean", "last"] = "last"

    foreign_names: ClassVar[dict[str, str] | None] = {r"^v_head\.1\.weight$": "head.weight"}
    num_heads: ClassVar[int] = 1

    def reach(self) -> list[list[bool]]:
        return [[True] * self.num_experts for _ in KINDS]

    def network_config(self, folder: str, purpose: str) -> PreTrainedConfig:
        config = AutoConfig.from_pretrained(folder)
        if config.model_type != "qwen3_vl_moe" or hasattr(config, DISCRIMINATOR_RECORD):
            return super().network_config(folder, purpose)
        # The checkpoint decides its own size; the record is what this class says of it.
        text = config.text_config
        own = type(self)(
            num_experts=text.num_experts,
            top_k=text.num_experts_per_tok,
            reasoning_sees_caption=self.reasoning_sees_caption,
            readout=self.readout,
        )
        setattr(config, DISCRIMINATOR_RECORD, own.record())
        return config
