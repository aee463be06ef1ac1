"""Step metrics of several ranks in one process."""

import torch

from prism_pl.metrics.collection import StepMetrics


def over_ranks(ranks: list[StepMetrics]) -> list[dict[str, float]]:
    """Each rank's result, as if all had met in one collective."""
    seen: list[torch.Tensor] = []

    def note(own_N: torch.Tensor) -> torch.Tensor:
        seen.append(own_N)
        return own_N[None]

    for rank in ranks:
        rank.result(note)
    return [rank.result(lambda _: torch.stack(seen)) for rank in ranks]
