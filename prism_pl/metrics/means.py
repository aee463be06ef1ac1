"""Means over unequal parts: sums and counts travel, so micro-batches and ranks of any size give the true mean."""

import torch


class Means:
    """Collects values by name. A name without any value has no mean: nothing is made up for it."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[float, int]] = {}

    def add(self, name: str, values: torch.Tensor | float) -> None:
        """Adds all elements of ``values``; an empty tensor only registers the name."""
        values = torch.as_tensor(values).detach().double()
        total, count = self._totals.get(name, (0.0, 0))
        self._totals[name] = (total + float(values.sum()), count + values.numel())

    def stacked(self) -> torch.Tensor:
        """(2, names): sums and counts in the order of the sorted names, ready to be summed over ranks."""
        ordered = [self._totals[name] for name in sorted(self._totals)]
        return torch.tensor(ordered, dtype=torch.float64).reshape(-1, 2).T.contiguous()

    def result(self, stacked: torch.Tensor | None = None) -> dict[str, float]:
        """The means, of ``stacked`` (after a sum over ranks) or of what was added here."""
        sums, counts = (self.stacked() if stacked is None else stacked).tolist()
        return {name: total / count for name, total, count in zip(sorted(self._totals), sums, counts, strict=True) if count}
