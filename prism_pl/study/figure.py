"""The study's figure: every seed a dot, the mean with its interval, greedy and sampled side by side."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prism_pl.metrics.bootstrap import estimate
from prism_pl.study.collect import ArmResult

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # Text stays text, and fixed ids give the same file for the same numbers.
    "svg.fonttype": "none",
    "svg.hashsalt": "prism_pl",
}
_PANELS = {"greedy": "#0072b2", "sampled": "#e69f00"}
_INCHES_AN_ARM = 0.34


def svg(results: Sequence[ArmResult]) -> str:
    """The whole figure as SVG; arms without a measured seed are left out."""
    measured = [result for result in results if result.runs]
    with mpl.rc_context(_STYLE):
        figure = Figure((9.0, 1.2 + _INCHES_AN_ARM * len(measured)), layout="constrained")
        panels = figure.subplots(1, len(_PANELS), sharey=True)
        for axes, (name, colour) in zip(panels, _PANELS.items(), strict=True):
            _draw(axes, measured, name, colour)
        panels[0].set_yticks(range(len(measured)), [result.name for result in measured])
        panels[0].invert_yaxis()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw(axes: Axes, results: Sequence[ArmResult], name: str, colour: str) -> None:
    for y, result in enumerate(results):
        values = result.values(name, list(result.runs))
        own = estimate(values)
        low, high = (own.mean if end is None else end for end in (own.low, own.high))
        axes.plot(values.mean(axis=1), [y] * len(values), "o", color=colour, alpha=0.45, markersize=4)
        # Of equal values the interval's ends may lie a rounding error on the wrong side of the mean.
        width = [[max(0.0, own.mean - low)], [max(0.0, high - own.mean)]]
        axes.errorbar(own.mean, y, xerr=width, fmt="|", color="#222", markersize=9, linewidth=1, capsize=3)
    axes.set_xlabel(f"{name} accuracy on held-out prompts")
    axes.grid(axis="x", color="#e1e5ea", linewidth=0.6)
    axes.set_axisbelow(True)
