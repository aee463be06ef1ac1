"""The policy: a stock image-text model, called on packed rows."""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoProcessor, Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration

from prism_pl.errors import UserError
from prism_pl.folders import model_folder
from prism_pl.logprobs import token_logprobs
from prism_pl.options import FreezeOptions
from prism_pl.packing import PackedBatch

_CLASSES = {"qwen3_vl": Qwen3VLForConditionalGeneration, "qwen3_vl_moe": Qwen3VLMoeForConditionalGeneration}


class Policy(nn.Module):
    """Wraps transformers' Qwen3-VL so that one forward call returns log-probabilities of packed segments.

    The wrapper is what FSDP shards: everything a step needs happens inside this one ``forward``.
    """

    def __init__(self, vlm: nn.Module) -> None:
        super().__init__()
        self.vlm = vlm

    @classmethod
    def load(cls, name: str, purpose: str, dtype: torch.dtype = torch.float32) -> "Policy":
        """From a Hugging Face folder or hub name. ``purpose`` is the configuration key, for error messages."""
        folder = model_folder(name, purpose)
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind not in _CLASSES:
            raise UserError(f"{purpose}: {name} is a {kind} model; supported are {', '.join(_CLASSES)}.")
        return cls(_CLASSES[kind].from_pretrained(folder, dtype=dtype, attn_implementation="sdpa"))

    def forward(self, packed: PackedBatch, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """``(logp_BT, entropy_BT)`` of the segments' tokens, 0 where padded."""
        hidden_RLH = self.vlm.model(**packed.model_inputs()).last_hidden_state
        mask_BT = packed.token_mask_BT
        hidden_NH = hidden_RLH.flatten(0, 1)[packed.source_BT[mask_BT]]
        logp_N, entropy_N = token_logprobs(hidden_NH, packed.target_BT[mask_BT], self.vlm.lm_head, temperature)
        zeros_BT = torch.zeros(mask_BT.shape, dtype=logp_N.dtype, device=logp_N.device)
        return zeros_BT.masked_scatter(mask_BT, logp_N), zeros_BT.masked_scatter(mask_BT, entropy_N)

    def freeze(self, options: FreezeOptions) -> None:
        """Stops gradients of the parts that ``options`` names."""
        visual = self.vlm.model.visual
        projector = {id(p) for m in (visual.merger, visual.deepstack_merger_list) for p in m.parameters()}
        for parameter in visual.parameters():
            frozen = options.projector if id(parameter) in projector else options.vision_tower
            parameter.requires_grad_(not frozen)
        for parameter in (*self.vlm.model.language_model.parameters(), *self.vlm.lm_head.parameters()):
            parameter.requires_grad_(not options.language_model)

    def layers(self) -> list[nn.Module]:
        """The blocks that are sharded one by one."""
        return [*self.vlm.model.visual.blocks, *self.vlm.model.language_model.layers]

    def save(self, folder: Path, source: str, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        """Writes a complete Hugging Face folder; the processor is copied from ``source``."""
        self.vlm.save_pretrained(folder, state_dict=state_dict)
        AutoProcessor.from_pretrained(model_folder(source, "the processor")).save_pretrained(folder)
