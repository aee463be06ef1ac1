"""Proxies of a response's shape, and how far a policy's distribution of them is from the teacher's."""

from collections.abc import Sequence
from dataclasses import dataclass

from prism_pl.metrics.proxies import caption_items, length_width, reasoning_steps, shares, total_variation
from prism_pl.report.collect import Run


@dataclass(frozen=True)
class Proxy:
    """One count a response, by policy; ``teacher`` among the names if it has one."""

    title: str
    unit: str
    values: dict[str, tuple[int, ...]]
    width: int
    """Of a bin, for histogram and distance alike."""

    def shares(self, name: str) -> dict[int, float]:
        """The share of each bin, by the bin's lower edge."""
        return shares(self.values[name], self.width)

    def distance(self, name: str) -> float | None:
        """Total variation from the teacher: half the sum of absolute differences of shares, 0 equal, 1 disjoint."""
        if "teacher" not in self.values:
            return None
        return total_variation(self.shares(name), self.shares("teacher"))


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
        Proxy("Caption items", "items a response", _filled(captions), 1),
        Proxy("Reasoning steps", "steps a response", _filled(steps), 1),
        Proxy("Response length", "tokens", _filled(tokens), length_width(*tokens.values())),
    ]


def _filled(values: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: own for name, own in values.items() if own}
