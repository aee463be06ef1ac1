"""A perception and a reasoning expert of their own: what PRISM's paper describes (arXiv 2604.28123, section 3.2).

a caption's tokens reach the perception experts, the tokens of think and answer the reasoning experts
"""

from dataclasses import dataclass

from prism_pl.discriminators.base import Mixture
from prism_pl.ranges import NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class DedicatedExpertsDiscriminator(Mixture):
    """Routing is conditioned on the segment's kind, and each kind has a head of its own."""

    num_perception: NonNegativeInt = 2
    """Experts of captions."""
    num_reasoning: NonNegativeInt = 2
    """Experts of think and answer."""
    num_shared: NonNegativeInt = 0
    """Experts that both may reach."""

    def reach(self) -> list[list[bool]]:
        own = [self.num_perception, self.num_reasoning, self.num_shared]
        role = [index for index, count in enumerate(own) for _ in range(count)]
        return [[True] * len(role), [r in (0, 2) for r in role], [r in (1, 2) for r in role]]
