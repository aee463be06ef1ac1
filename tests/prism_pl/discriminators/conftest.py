"""The four classes, and of each a network whose weights are far from the smooth start."""

from collections.abc import Callable

import pytest
import torch

from prism_pl.discriminators import (
    DedicatedExpertsDiscriminator,
    DenseDiscriminator,
    Discriminator,
    Scorer,
    SharedMixtureDiscriminator,
    TextOnlyDiscriminator,
)
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.model.packing import PackedBatch, make_groups, pack
from prism_pl.types import Prompt
from tests.plain_forward import add_noise

# Every token of the dedicated experts has a choice to make: two of three or more. Both ways to read a segment, in both
# kinds of network.
CLASSES = [
    DedicatedExpertsDiscriminator(num_perception=3, num_reasoning=2, num_shared=1, noise=0.1),
    SharedMixtureDiscriminator(noise=0.1),
    DenseDiscriminator(noise=0.1, readout="last"),
    DenseDiscriminator(noise=0.1, width=4, reasoning_sees_caption=True),
    TextOnlyDiscriminator(noise=0.1),
]


@pytest.fixture(scope="session", params=CLASSES, ids=lambda leaf: f"{type(leaf).__name__}-{leaf.readout}")
def leaf(request: pytest.FixtureRequest) -> Discriminator:
    return request.param


@pytest.fixture(scope="session")
def lively(leaf: Discriminator) -> Scorer:
    """Noise on all weights. Copy it before a change."""
    scorer = leaf.build(EMBEDDED_NAME, "test").eval()
    add_noise(scorer)
    return scorer


@pytest.fixture(scope="session")
def packed(mixed_prompts: list[Prompt]) -> PackedBatch:
    """Five groups, each a prompt with a segment of 3 tokens (perception) and one of 2 (reasoning)."""
    return pack(make_groups(mixed_prompts, [[(5, 6, 7), (8, 9)]] * len(mixed_prompts)))


@pytest.fixture(scope="session")
def aspect_B(packed: PackedBatch) -> torch.Tensor:
    return torch.arange(len(packed.last_B)) % 2


@pytest.fixture(scope="session")
def score_with_hidden() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """A function that scores and gives ``(score_B, hidden_NH)``, the hidden states that the scores were read from."""

    @torch.no_grad()
    def score(scorer: Scorer, packed: PackedBatch, aspect_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = []
        handle = scorer.model.register_forward_hook(lambda _, __, output: seen.append(output.last_hidden_state))
        score_B, _ = scorer(packed, aspect_B)
        handle.remove()
        (hidden_1NH,) = seen
        return score_B, hidden_1NH[0]

    return score
