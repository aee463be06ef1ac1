"""One forward pass of a stock Qwen3-VL backbone over a packed batch, for policy and discriminator alike."""

from typing import Any

import torch
from torch.distributed.tensor import DTensor

from prism_pl.model.attention import attention_of, block_mask, takes_block_mask
from prism_pl.model.packing import PackedBatch


def hidden_states(model: Any, packed: PackedBatch) -> torch.Tensor:
    """The last hidden states (N, H) of a ``Qwen3VLModel``."""
    # Sharded parameters are gathered by all ranks together, so one without images must go through the vision tower, too.
    idle = packed.pixel_values is None and any(isinstance(p, DTensor) for p in model.visual.parameters())
    silence = _silent_image(model.visual) if idle else None
    blocks = takes_block_mask(attention_of(model), packed.part_N.device)
    # Of four dimensions, so that transformers makes none of its own. All layers share it.
    mask = block_mask(packed.part_N, packed.prefix_N) if blocks else packed.real_N[None, None, None]
    hidden_NH = model(
        input_ids=packed.input_ids_N[None],
        position_ids=packed.positions_3N[:, None],
        attention_mask=mask,
        pixel_values=packed.pixel_values,
        image_grid_thw=packed.image_grid,
        layout=packed.layout,
    ).last_hidden_state[0]
    return hidden_NH if silence is None else hidden_NH + silence.to(hidden_NH)


def _silent_image(visual: Any) -> torch.Tensor:
    """Zero, with a gradient of zero for every parameter of the tower: a black image of one token that nobody sees."""
    config, size = visual.config, visual.spatial_merge_size
    features = config.in_channels * config.temporal_patch_size * config.patch_size**2
    device = next(visual.parameters()).device
    pixels = torch.zeros(size * size, features, device=device, dtype=visual.dtype)
    output = visual(pixels, grid_thw=torch.tensor([[1, size, size]], device=device))
    return 0.0 * torch.stack([part.float().sum() for part in (output.pooler_output, *output.deepstack_features)]).sum()
