"""Densities of the responses' shape, as the paper draws them: one smooth line a policy and one for the teacher.

density(x) = 1/N sum_n phi((x - v_n) / h) / h        phi is the normal density, v_n the N values

h = max(1/2, 0.9 min(s, IQR / 1.34) N^(-1/5)) is Silverman's rule ("Density Estimation", 1986, equation 3.31), with s the
standard deviation and IQR the middle half's width. The values are whole numbers: without the floor of a half, those of a
policy that always does the same would be a needle.
"""

from collections.abc import Sequence

import numpy as np

from prism_pl.report.collect import Run
from prism_pl.report.distribution import Proxy
from prism_pl.report.drawing import Chart, legend_above, new_axes, svg_uri

_POINTS = 300
_LEAST = 0.5
_REACH = 3
"""Bandwidths beyond the outermost values that are drawn."""


def bandwidth(values: Sequence[int]) -> float:
    """The h above.

    >>> bandwidth([3, 3, 3])
    0.5
    """
    quarter, three = np.quantile(values, (0.25, 0.75))
    # Where more than half of the values are equal the quartiles say nothing of the rest.
    spread = min(float(np.std(values)), float(three - quarter) / 1.34 or np.inf)
    return max(_LEAST, 0.9 * spread * len(values) ** -0.2)


def density(values: Sequence[int], points: np.ndarray) -> np.ndarray:
    """At each point; the integral over all numbers is 1."""
    width = bandwidth(values)
    # Each value once: lengths repeat.
    found, counts = np.unique(values, return_counts=True)
    kernel = np.exp(-0.5 * ((points[:, None] - found) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    return kernel @ counts / len(values)


def density_chart(run: Run, proxy: Proxy) -> Chart | None:
    """All drawn stages and the teacher, which is dashed."""
    if not proxy.values:
        return None
    figure, axes = new_axes("density")
    low = min(min(own) - _REACH * bandwidth(own) for own in proxy.values.values())
    high = max(max(own) + _REACH * bandwidth(own) for own in proxy.values.values())
    points = np.linspace(max(0.0, low), high, _POINTS)
    for name, values in proxy.values.items():
        height = density(values, points)
        label = f"{run.title(name)}, mean {np.mean(values):.1f}"
        axes.plot(points, height, "--" if name == "teacher" else "-", color=run.colour(name), label=label, linewidth=1.4)
        axes.fill_between(points, height, color=run.colour(name), alpha=0.12, linewidth=0)
    axes.set_xlabel(proxy.unit)
    axes.set_xlim(points[0], points[-1])
    axes.set_ylim(bottom=0)
    legend_above(figure, axes)
    return Chart(f"{proxy.title}, density", svg_uri(figure), "")
