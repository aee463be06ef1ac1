"""The metrics of a step, all of them torchmetrics: declared before the step, synced over ranks by one collective after it.

A rank may have nothing to add under a name, or nothing at all: what travels is every state of every declared metric, so the
collective's size never depends on data. A name that no rank has added to is not logged: nothing is made up for it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torchmetrics import MaxMetric, MeanMetric, Metric, MetricCollection, PearsonCorrCoef, SumMetric

# Metrics never sync by themselves: ``StepMetrics.result`` does it for all of them at once.
_LOCAL: dict[str, Any] = {"sync_on_compute": False, "compute_with_cache": False}


class StepMetrics(MetricCollection):
    """Values by name; all states are float64.

    Args:
        declared: every name that a step may add to. A metric whose ``compute`` gives a dictionary is logged under its name
            followed by each key.
    """

    def __init__(self, declared: Mapping[str, Metric]) -> None:
        super().__init__(dict(declared), compute_groups=False)
        assert not any(metric.sync_on_compute for metric in self.values()), "make metrics with `local(...)`"
        self.set_dtype(torch.float64)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], *options: Any) -> "StepMetrics":
        # torchmetrics goes back to fp32 when it is moved to a device.
        moved = super()._apply(fn, *options)
        self.set_dtype(torch.float64)
        return moved

    def add(self, name: str, *values: torch.Tensor | float) -> None:
        """Updates a declared metric; empty tensors add nothing."""
        assert name in self, f"the metric {name} was not declared before the step"
        tensors = [torch.as_tensor(value).detach() for value in values]
        if any(tensor.numel() for tensor in tensors):
            metric = self[name]
            metric.update(*(tensor.to(metric.device) for tensor in tensors))

    def result(self, gather: Callable[[torch.Tensor], torch.Tensor] | None = None) -> dict[str, float]:
        """The value of each name that somebody has added to.

        ``gather`` makes (ranks, n) of a rank's (n,), in one collective; None is a single process.
        """
        metrics = dict(self.items(keep_base=True))
        parts = [_flat(metric) for metric in metrics.values()]
        flat = torch.cat(parts) if parts else torch.zeros(0)
        gathered = flat[None] if gather is None else gather(flat)
        sizes = [len(part) for part in parts]
        values: dict[str, torch.Tensor] = {}
        for (name, metric), own_RN in zip(metrics.items(), gathered.split(sizes, dim=1), strict=True):
            if own_RN[:, 0].sum():
                values |= _named(name, _compute(metric, own_RN[:, 1:]))
        # One transfer for all of them.
        return dict(zip(values, torch.stack([*values.values()]).tolist(), strict=True)) if values else {}


def local(kind: Callable[..., Metric], *arguments: Any, **options: Any) -> Metric:
    """A metric that is synced by its collection."""
    return kind(*arguments, **options, **_LOCAL)


def means(*names: str) -> dict[str, Metric]:
    """Declares means over everything that is added, on all ranks."""
    # A NaN stays a NaN, for everyone to see.
    return {name: local(MeanMetric, nan_strategy="disable") for name in names}


def sums(*names: str) -> dict[str, Metric]:
    """Declares sums over everything that is added, on all ranks."""
    return {name: local(SumMetric, nan_strategy="disable") for name in names}


def maxima(*names: str) -> dict[str, Metric]:
    """Declares the largest of everything that is added, on any rank."""
    return {name: local(MaxMetric, nan_strategy="disable") for name in names}


def correlations(*names: str) -> dict[str, Metric]:
    """Declares Pearson correlations of two added tensors."""
    return {name: local(PearsonCorrCoef) for name in names}


def _flat(metric: Metric) -> torch.Tensor:
    """How often it was updated, and its states."""
    states = [torch.as_tensor(state, device=metric.device).double().flatten() for state in metric.metric_state.values()]
    return torch.cat([torch.tensor([float(metric.update_count)], device=metric.device, dtype=torch.float64), *states])


def _compute(metric: Metric, states_RN: torch.Tensor) -> Any:
    """Of the states of all ranks, reduced as the metric itself says."""
    position = 0

    def take(state: torch.Tensor, group: Any = None) -> list[torch.Tensor]:
        nonlocal position
        start, position = position, position + state.numel()
        return [own.reshape(state.shape).to(state) for own in states_RN[:, start:position]]

    several = len(states_RN) > 1
    own_updates = metric.update_count
    # A rank that added nothing computes the others' value, which torchmetrics would warn of.
    metric._update_count = max(own_updates, 1)
    with metric.sync_context(dist_sync_fn=take, should_sync=several, distributed_available=lambda: several):
        value = metric.compute()
    metric._update_count = own_updates
    return value


def _named(name: str, value: Any) -> dict[str, torch.Tensor]:
    """Values by their logged names; None is no value."""
    parts = {f"{name}{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return {key: torch.as_tensor(part).double().squeeze() for key, part in parts.items() if part is not None}
