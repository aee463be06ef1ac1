"""The gradient penalty, taken a pass at a time, has the gradient of the whole expression."""

from collections.abc import Callable
from typing import Any

import torch

from prism_pl.discriminators import Scorer
from prism_pl.game.gradient_penalty import penalise_noise
from prism_pl.model.packing import make_groups, pack
from prism_pl.seeds import derive_seed
from prism_pl.types import Prompt

NOISE, WEIGHT = 0.3, 0.7


def gradients(scorer: Scorer, take: Callable[[], Any]) -> dict[str, torch.Tensor]:
    scorer.zero_grad()
    take()
    return {name: p.grad.clone() for name, p in scorer.named_parameters() if p.grad is not None}


def test_its_gradient_is_that_of_two_passes_at_once(discriminator: Scorer, mixed_prompts: list[Prompt]) -> None:
    groups = make_groups(mixed_prompts[:2], [[(5, 6, 7), (8, 9)], [(4,), (6, 5, 3)]])
    packed = pack(groups)
    aspect_B = packed.order_B % 2
    seeds = [derive_seed("r1", 3, groups[order // 2].prompt.source, order % 2) for order in packed.order_B.tolist()]

    def at_once() -> None:
        clean_B, _ = discriminator(packed, aspect_B)
        noisy_B, _ = discriminator(packed, aspect_B, (NOISE, seeds))
        squares.append((clean_B - noisy_B).square())
        (WEIGHT * squares[-1].sum()).backward()

    def one_by_one() -> None:
        squares.append(penalise_noise(discriminator, packed, groups, NOISE, WEIGHT, lambda loss: loss.backward(), "r1", 3))

    squares: list[torch.Tensor] = []
    expected, found = gradients(discriminator, at_once), gradients(discriminator, one_by_one)
    torch.testing.assert_close(squares[1], squares[0].detach())
    assert float(squares[0].sum()) > 1e-4
    assert expected.keys() == found.keys()
    scale = max(float(tensor.norm()) for tensor in expected.values())
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5 * scale, msg=name)
