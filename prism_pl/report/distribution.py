"""Proxies of a response's shape, and how far a policy's distribution of them is from the teacher's."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prism_pl.drift import (
    LENGTH_BINS,
    Ranged,
    TotalVariation,
    bin_width,
    caption_items,
    floor_of,
    measured,
    reasoning_steps,
    shares,
)
from prism_pl.report.collect import Run


@dataclass(frozen=True)
class Proxy:
    """One count a response, by policy; ``teacher`` among the names if it has one."""

    title: str
    unit: str
    values: dict[str, tuple[int, ...]]
    num_bins: int | None = None
    """Up to the teacher's largest value; None is one bin a value."""

    @property
    def width(self) -> int:
        """Of a bin, for histogram and distance alike."""
        return bin_width(max(self.values.get("teacher") or (v for own in self.values.values() for v in own)), self.num_bins)

    def shares(self, name: str) -> dict[int, float]:
        """The share of each bin, by the bin's lower edge."""
        return shares(self.values[name], self.width)

    def distance(self, name: str) -> float | None:
        """Total variation from the teacher: half the sum of absolute differences of shares, 0 equal, 1 disjoint."""
        if "teacher" not in self.values:
            return None
        return measured(self._metric, *(torch.tensor(self.values[own]) for own in (name, "teacher")))

    @property
    def floor(self) -> Ranged | None:
        """The same between random halves of the teacher's responses; None with fewer than two."""
        return floor_of(self._metric, list(torch.tensor(self.values.get("teacher", ())).split(1)))

    @property
    def _metric(self) -> TotalVariation:
        return TotalVariation(num_bins=self.num_bins)


def make_proxies(run: Run, teacher_tokens: Sequence[int]) -> list[Proxy]:
    """Caption items and reasoning steps of well-formed responses, and the length of all, for the drawn stages."""
    tokens = {"teacher": tuple(teacher_tokens)}
    taught = [record.teacher_sections for record in run.teacher if record.teacher_sections]
    said = {stage.name: [r.sections for r in stage.heldout if r.sections] for stage in run.drawn}
    everyone = {"teacher": taught, **said}
    captions = {name: caption_items(sections) for name, sections in everyone.items()}
    steps = {name: reasoning_steps(sections) for name, sections in everyone.items()}
    for stage in run.drawn:
        tokens[stage.name] = tuple(record.tokens for record in stage.heldout)
    return [
        Proxy("Caption items", "items a response", _filled(captions)),
        Proxy("Reasoning steps", "steps a response", _filled(steps)),
        Proxy("Response length", "tokens", _filled(tokens), LENGTH_BINS),
    ]


def _filled(values: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: own for name, own in values.items() if own}
