"""What the passes of a step do a second: tokens, and the share of the device's peak.

    tokens/s a device = tokens that the main network learnt from / (seconds of the step x devices)
    FLOPs share       = FLOPs of all passes / (seconds of the step x devices x the device's bf16 peak)

The seconds are those of all phases of the step, rollouts included. A pass counts its useful products alone: forward once,
and twice that for its backward pass; not what checkpointing computes again, nor padding, nor an engine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prism_pl.model.packing import Group
from prism_pl.model.policy import Policy
from prism_pl.planning import Architecture, device_named, forward_flops

TOKENS, FLOPS = "throughput/tokens", "throughput/flops"
"""Sums over a step and its ranks."""


@dataclass(frozen=True)
class PassSizes:
    """What the work of a packed micro-batch depends on."""

    tokens: int
    context: float
    """Tokens that a token sees on average, itself included."""
    patches: int
    """Of images."""
    targets: int
    """Tokens of segments."""

    @classmethod
    def of(cls, groups: Sequence[Group]) -> "PassSizes":
        """Of a micro-batch's groups."""
        seen = patches = targets = 0
        for group in groups:
            prompt, own = len(group.prompt.input_ids), [len(segment) for segment in group.segments]
            seen += prompt * (prompt + 1) // 2 + sum(size * prompt + size * (size + 1) // 2 for size in own)
            targets += sum(own)
            if group.prompt.image_grid is not None:
                patches += int(group.prompt.image_grid.prod(-1).sum())
        tokens = sum(group.num_tokens for group in groups)
        return cls(tokens, seen / tokens, patches, targets)


def architecture_of(network: Any) -> Architecture:
    """Of a policy or a discriminator."""
    if isinstance(network, Policy):
        return Architecture.of(network.vlm.config)
    return Architecture.of(network.config, score_heads=network.head.out_features)


def pass_flops(architecture: Architecture, sizes: PassSizes, *, learns: bool) -> float:
    """Of a forward pass, and of its backward pass if the network ``learns``."""
    images = sizes.patches / architecture.merge**2
    once = forward_flops(architecture, sizes.tokens, sizes.context, images, sizes.targets)
    return once * (3 if learns else 1)


def rates(values: dict[str, float], seconds: float, num_devices: int, device: torch.device) -> dict[str, float]:
    """The values of a step with its sums as figures a second. The share is only there if the device's peak is known."""
    others = {name: value for name, value in values.items() if name not in (TOKENS, FLOPS)}
    if not seconds or TOKENS not in values:
        return others
    others["throughput/tokens_per_second_per_device"] = values[TOKENS] / seconds / num_devices
    known = device_named(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    if known is not None:
        others["throughput/flops_share"] = values[FLOPS] / seconds / num_devices / known.flops
    return others
