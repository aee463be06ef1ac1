"""The log-prob probe: do engine and trainer hold the same weights?

gap = |log p (engine) - log p (trainer)| of each sampled token

The same weights give the same log-probabilities up to rounding. The bounds are on mean and 99th percentile. The largest gap
grows with the number of tokens and says little: in bf16 it has been 0.37 on 3,916 tokens of a sound run (trl#6789).
"""

from dataclasses import dataclass

import torch

from prism_pl.ranges import NonNegativeFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """The proof that the engine samples from the trainer's weights."""

    every: PositiveInt = 10
    """At each multiple of so many policy updates; the probe also runs before the first one and after a resume."""
    mean_gap: NonNegativeFloat | None = None
    """Bound of the gaps' mean; null is 1e-4 where engine and trainer compute in fp32, else 0.025."""
    p99_gap: NonNegativeFloat | None = None
    """Bound of the gaps' 99th percentile; null is 1e-3 in fp32, else 0.25."""


@dataclass(frozen=True)
class Bounds:
    """What mean and percentile may be."""

    mean: float
    p99: float


# fp32 rounds to 6e-8 of a value: a sound pair has a mean of 3e-7 on the embedded model, one wrong tensor of its 92 a mean
# of 4e-4 to 5. bf16 rounds to 4e-3 of a value, 0.04 of a logit of 10, mostly averaged out: a sound pair has a mean of at
# most 0.007 there, 0.012 was reported at size (trl#4772), and a wrong layer has 0.5 and more.
_FP32 = Bounds(1e-4, 1e-3)
_BF16 = Bounds(0.025, 0.25)


def bounds(options: ProbeOptions, *, exact: bool) -> Bounds:
    """The options', or those of the precision: ``exact`` is fp32 on both sides."""
    default = _FP32 if exact else _BF16
    mean = default.mean if options.mean_gap is None else options.mean_gap
    return Bounds(mean, default.p99 if options.p99_gap is None else options.p99_gap)


@dataclass(frozen=True)
class Verdict:
    """What the probe has found."""

    mean: float
    p99: float
    largest: float
    problem: str | None
    """A sentence, if a bound is passed."""


def judge(gap_N: torch.Tensor, allowed: Bounds) -> Verdict:
    """Of the gaps of a probe's tokens."""
    gap_N = gap_N.double()
    mean, p99, largest = float(gap_N.mean()), float(gap_N.quantile(0.99)), float(gap_N.max())
    problem = None
    # A NaN passes no bound.
    if not (mean <= allowed.mean and p99 <= allowed.p99):
        problem = (
            f"|log p (engine) - log p (trainer)| of {len(gap_N)} tokens has the mean {mean:.2e} (probe.mean_gap: "
            f"{allowed.mean:g}) and the 99th percentile {p99:.2e} (probe.p99_gap: {allowed.p99:g}). The engine does not "
            f"sample from the trainer's weights, or the two compute in different precision."
        )
    return Verdict(mean, p99, largest, problem)
