"""The discriminator: a sparse mixture upcycled from a dense Qwen3-VL, with one scalar head an expert.

    D_k(x, y_k) = w_k . h(last token of segment k),  k in {perception, reasoning}        (arXiv 2604.28123, eq. 1)

The backbone is transformers' stock Qwen3-VL-MoE; routing is per token and learned. All segments of a prompt share one
packed row: the prompt and its image are computed once.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoProcessor, Qwen3VLMoeConfig, Qwen3VLMoeModel
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoePreTrainedModel, load_balancing_loss_func

from prism_pl.errors import UserError
from prism_pl.folders import model_folder
from prism_pl.packing import PackedBatch
from prism_pl.sharding import full_weights
from prism_pl.types import EXPERTS


class MixtureDiscriminator(Qwen3VLMoePreTrainedModel):
    """Stock Qwen3-VL-MoE backbone and a bias-free linear head a judged aspect; saves and loads as one folder."""

    def __init__(self, config: Qwen3VLMoeConfig) -> None:
        super().__init__(config)
        text_config: Any = config.text_config
        self.text_config = text_config
        self.model = Qwen3VLMoeModel(config)
        self.head = nn.Linear(self.text_config.hidden_size, len(EXPERTS), bias=False)
        self.post_init()

    @classmethod
    def load(cls, name: str, purpose: str, dtype: torch.dtype = torch.float32) -> "MixtureDiscriminator":
        """From a folder that ``save`` wrote. A missing head or any other missing weight is an error, never random."""
        folder = model_folder(name, purpose)
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind != "qwen3_vl_moe":
            raise UserError(f"{purpose}: {name} is a {kind} model, not a discriminator; make one with warmup.yaml.")
        loaded: Any = cls.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa", output_loading_info=True)
        model, info = loaded
        if info["missing_keys"]:
            missing = ", ".join(sorted(info["missing_keys"])[:3])
            raise UserError(f"{purpose}: {name} lacks the weights {missing}; it was not saved by warmup or align.")
        return model

    def forward(self, packed: PackedBatch, expert_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``(score_B, balance)``: each segment's score by its expert's head, and the router's load-balancing loss.

        The balance loss (Switch Transformer, arXiv 2101.03961, eq. 4-6) is ``top_k`` when experts are evenly used; padding
        does not count.
        """
        output = self.model(**packed.model_inputs(), output_router_logits=True)
        hidden_BH = output.last_hidden_state.flatten(0, 1)[packed.last_B]
        score_B = self.head(hidden_BH).float().gather(-1, expert_B[:, None]).squeeze(-1)
        balance: Any = load_balancing_loss_func(
            output.router_logits, self.text_config.num_experts, self.text_config.num_experts_per_tok, packed.real_RL
        )
        return score_B, balance

    def layers(self) -> list[nn.Module]:
        """The blocks that are sharded one by one."""
        return [*self.model.visual.blocks, *self.model.language_model.layers]

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Whole tensors, heads included. All ranks of a sharded discriminator must exhaust it."""
        return full_weights(self)

    def save(self, folder: Path, source: str, weights: dict[str, torch.Tensor]) -> None:
        """Writes a complete Hugging Face folder, heads included; the processor is copied from ``source``."""
        self.save_pretrained(folder, state_dict=weights)
        AutoProcessor.from_pretrained(model_folder(source, "the processor")).save_pretrained(folder)
