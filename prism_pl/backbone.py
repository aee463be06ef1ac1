"""One forward pass of a stock Qwen3-VL backbone over packed rows, for policy and discriminator alike."""

from typing import Any, Literal

import torch
from torch.distributed.tensor import DTensor

from prism_pl.errors import UserError
from prism_pl.packing import PackedBatch

Attention = Literal["sdpa", "flex_attention"]


def hidden_states(model: Any, packed: PackedBatch) -> torch.Tensor:
    """The last hidden states (R, L, H) of a ``Qwen3VLModel``."""
    # Sharded parameters are gathered by all ranks together, so one without images must go through the vision tower, too.
    idle = packed.pixel_values is None and any(isinstance(p, DTensor) for p in model.visual.parameters())
    silence = _silent_image(model.visual) if idle else None
    inputs = packed.model_inputs(model.language_model.config._attn_implementation)
    hidden_RLH = model(**inputs).last_hidden_state
    return hidden_RLH if silence is None else hidden_RLH + silence.to(hidden_RLH)


def _silent_image(visual: Any) -> torch.Tensor:
    """Zero, with a gradient of zero for every parameter of the tower: a black image of one token that nobody sees."""
    config, size = visual.config, visual.spatial_merge_size
    features = config.in_channels * config.temporal_patch_size * config.patch_size**2
    device = next(visual.parameters()).device
    pixels = torch.zeros(size * size, features, device=device, dtype=visual.dtype)
    output = visual(pixels, grid_thw=torch.tensor([[1, size, size]], device=device))
    return 0.0 * torch.stack([part.float().sum() for part in (output.pooler_output, *output.deepstack_features)]).sum()


def use_attention(model: Any, attention: Attention) -> None:
    """Sets the attention of a ``Qwen3VLModel``'s language model; the vision tower, which has no mask, keeps SDPA.

    ``sdpa`` takes a dense mask; ``flex_attention`` takes a block mask, skips what no token may see, and trains on a GPU
    only. Raises UserError for the latter without one.
    """
    if attention == "flex_attention" and not torch.cuda.is_available():
        raise UserError("model.attention: flex_attention trains on a GPU only, and there is none; take sdpa.")
    # Not by set_attn_implementation: transformers has not declared FlexAttention for this architecture, though it runs.
    model.language_model.config._attn_implementation = attention
