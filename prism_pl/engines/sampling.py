"""How responses are sampled."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How responses are sampled from the policy."""

    max_new_tokens: int
    """Length limit of a response, in tokens."""
    group_size: int = 16
    """G, responses a prompt."""
    temperature: float = 1.0
    """Softmax temperature; 0 is greedy."""
