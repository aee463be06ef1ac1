"""How responses are sampled."""

from dataclasses import dataclass

from prism_pl.ranges import NonNegativeFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How responses are sampled from the policy."""

    max_new_tokens: PositiveInt
    """Length limit of a response, in tokens."""
    group_size: PositiveInt = 16
    """G, responses a prompt."""
    temperature: NonNegativeFloat = 1.0
    """Softmax temperature; 0 is greedy."""
