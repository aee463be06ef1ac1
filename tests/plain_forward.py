"""What the packed path is held against: one sequence a call of transformers' own model, its own positions and mask."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from prism_pl.model.policy import Policy
from prism_pl.types import Prompt


@torch.no_grad()
def add_noise(model: nn.Module, scale: float = 0.05, part: str = "") -> None:
    """On all weights that have ``part`` in their name: at the start model's near-uniform attention an error could hide."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if part in name:
            parameter += scale * torch.randn(parameter.shape, generator=generator)


def random_segments(num_prompts: int, group_size: int, seed: int = 0) -> list[list[tuple[int, ...]]]:
    """Segments of 1 to 9 byte tokens, far from the special ones."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> tuple[int, ...]:
        size = int(torch.randint(1, 10, (), generator=generator))
        return tuple(torch.randint(0, 256, (size,), generator=generator).tolist())

    return [[draw() for _ in range(group_size)] for _ in range(num_prompts)]


def plain_hidden(backbone: Any, prompt: Prompt, segment: Sequence[int]) -> torch.Tensor:
    """(T, H) of prompt + segment."""
    input_ids = torch.tensor([[*prompt.input_ids, *segment]])
    images = {}
    if prompt.pixel_values is not None:
        images = {
            "pixel_values": prompt.pixel_values,
            "image_grid_thw": prompt.image_grid,
            "mm_token_type_ids": (input_ids == backbone.config.image_token_id).int(),
        }
    mask = torch.ones_like(input_ids)
    return backbone(input_ids=input_ids, attention_mask=mask, **images).last_hidden_state[0]


def plain_logits(policy: Policy, prompt: Prompt, segment: Sequence[int]) -> torch.Tensor:
    """(T, V), of which each row is the distribution of one of the segment's tokens.

    The image and video placeholders are left out of it, as ``Policy`` promises.
    """
    logits_TV = policy.vlm.lm_head(plain_hidden(policy.vlm.model, prompt, segment))[len(prompt.input_ids) - 1 : -1]
    config = policy.vlm.config
    return logits_TV.index_fill(-1, torch.tensor([config.image_token_id, config.video_token_id]), -torch.inf)


def plain_logprobs(policy: Policy, prompt: Prompt, segment: Sequence[int], temperature: float = 1.0) -> torch.Tensor:
    """log p of each of the segment's tokens."""
    logp_TV = torch.log_softmax(plain_logits(policy, prompt, segment) / temperature, dim=-1)
    return logp_TV.gather(-1, torch.tensor(segment)[:, None]).squeeze(-1)
