"""No mixture: the ablation that asks whether experts matter (arXiv 2604.28123, ablation table)."""

from dataclasses import dataclass

from prism_pl.discriminators.base import Dense


@dataclass(frozen=True, kw_only=True)
class DenseDiscriminator(Dense):
    """A dense network with a head for each kind; ``width`` matches it to a mixture's size."""
