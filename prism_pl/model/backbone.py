"""One forward pass of a stock Qwen3-VL backbone over a packed batch, for policy and discriminator alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from prism_pl.model.attention import attention_of, block_mask, takes_block_mask
from prism_pl.model.packing import PackedBatch


def hidden_states(model: Any, packed: PackedBatch) -> torch.Tensor:
    """The last hidden states (N, H) of a ``Qwen3VLModel``."""
    blocks = takes_block_mask(attention_of(model), packed.part_N.device)
    # Of four dimensions, so that transformers makes none of its own. All layers share it.
    mask = block_mask(packed.part_N, packed.prefix_N) if blocks else packed.real_N[None, None, None]
    with _tower_in_step(model, idle=packed.pixel_values is None):
        return model(
            input_ids=packed.input_ids_N[None],
            position_ids=packed.positions_3N[:, None],
            attention_mask=mask,
            pixel_values=packed.pixel_values,
            image_grid_thw=packed.image_grid,
            layout=packed.layout,
        ).last_hidden_state[0]


def keep_in_step(visual: Any) -> None:
    """Says of a vision tower that ranks gather or reduce it together, where its parameters do not show it."""
    visual.in_step = True


@contextmanager
def _tower_in_step(model: Any, *, idle: bool) -> Iterator[None]:
    """A rank without images goes through the vision tower all the same if ranks have it together."""
    together = getattr(model.visual, "in_step", False) or any(isinstance(p, DTensor) for p in model.visual.parameters())
    if not idle or not together:
        yield
        return

    # After the embedding, where transformers calls the tower: DeepSpeed compares the order of modules, and of gradients.
    def add_silence(module: Any, inputs: Any, embedded_1NH: torch.Tensor) -> torch.Tensor:
        return embedded_1NH + _silent_image(model.visual).to(embedded_1NH)

    hook = model.language_model.embed_tokens.register_forward_hook(add_silence)
    try:
        yield
    finally:
        hook.remove()


def _silent_image(visual: Any) -> torch.Tensor:
    """Zero, with a gradient of zero for every parameter of the tower: a black image of one token that nobody sees."""
    config, size = visual.config, visual.spatial_merge_size
    features = config.in_channels * config.temporal_patch_size * config.patch_size**2
    device = next(visual.parameters()).device
    pixels = torch.zeros(size * size, features, device=device, dtype=visual.dtype)
    output = visual(pixels, grid_thw=torch.tensor([[1, size, size]], device=device))
    return 0.0 * torch.stack([part.float().sum() for part in (output.pooler_output, *output.deepstack_features)]).sum()
