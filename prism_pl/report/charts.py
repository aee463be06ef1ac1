"""The charts, each a small SVG of its own, so that they stack on a phone instead of shrinking."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prism_pl.report.collect import PHASES, TITLES, Run, Series
from prism_pl.report.distribution import Proxy
from prism_pl.report.table import Row, Share, mean
from prism_pl.types import ASPECTS

# Okabe and Ito's colours, told apart by colour-blind readers too; no colour means two things.
COLOURS = {
    "teacher": "#5b6470",
    "sft": "#0072b2",
    "align": "#e69f00",
    "rlvr": "#009e73",
    "perception": "#c2478d",
    "reasoning": "#56508f",
    "rlvr sampled": "#7fceb9",
    "accuracy": "#8c564b",
    "format": "#17a2b8",
}
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a929c",
    "axes.labelcolor": "#333a42",
    "axes.titlesize": 9.5,
    "xtick.color": "#555d66",
    "ytick.color": "#555d66",
    "legend.frameon": False,
    "legend.fontsize": 8,
    # Fixed ids, so that the same run gives the same page.
    "svg.hashsalt": "prism_pl",
}
_SIZE = (4.6, 3.0)
_GROUPED_BINS = 10
"""Up to so many bins the bars of the policies stand side by side; beyond that they would be too thin."""
_SMOOTH_FROM = 60
"""Longer lines get a moving mean over a tenth of their length."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart."""

    title: str
    uri: str
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A metric to draw over steps."""

    key: str
    label: str
    colour: str
    heldout: bool = False
    """Drawn as points: a few evaluations instead of every step."""


def accuracy_chart(rows: Sequence[Row]) -> Chart | None:
    """Greedy and sampled held-out accuracy of each stage with intervals; the teacher as a line."""
    stages = [row for row in rows if row.name != "teacher" and row.accuracy and row.sampled]
    if not stages:
        return None
    figure, axes = _axes("share of held-out prompts")
    for x, row in enumerate(stages):
        for offset, value, alpha in ((-0.19, row.accuracy, 1.0), (0.19, row.sampled, 0.45)):
            assert value is not None
            _bar(axes, x + offset, value, COLOURS[row.name], alpha)
    axes.set_xticks(range(len(stages)), [TITLES[row.name] for row in stages])
    axes.set_ylim(0, 1)
    note = "Dark: greedy; pale: sampled at temperature 1. Whiskers: 95% Wilson intervals."
    return Chart("Held-out accuracy", _uri(figure), note)


def _bar(axes: Axes, x: float, value: Share, colour: str, alpha: float) -> None:
    low, high = value.interval
    axes.bar(x, value.value, 0.34, color=colour, alpha=alpha)
    axes.errorbar(x, value.value, [[value.value - low], [high - value.value]], color="#222", linewidth=1, capsize=3)
    axes.annotate(f"{value.value:.2f}", (x, high), (0, 3), textcoords="offset points", ha="center", fontsize=8)


def gap_lines(prefix: str, heldout_prefix: str) -> list[Line]:
    """Both experts, in training and held out."""
    return [
        Line(f"{start}{aspect}", f"{aspect}, {'held out' if heldout else 'training'}", COLOURS[aspect], heldout)
        for aspect in ASPECTS
        for start, heldout in ((prefix, False), (heldout_prefix, True))
    ]


def line_chart(
    run: Run, stage: str, title: str, unit: str, lines: Sequence[Line], *, reference: float, fraction: bool = False
) -> Chart | None:
    """Metrics of one stage over its steps; None if there is none of them. ``reference`` is a level to compare with."""
    found = [(line, series) for line in lines if (series := run.series(stage, line.key))]
    if not found:
        return None
    figure, axes = _axes(unit)
    axes.set_xlabel(f"{PHASES[stage]}: updates")
    axes.axhline(reference, color="#9aa2ab", linewidth=0.8, linestyle=":")
    smoothed = False
    for line, series in found:
        if line.heldout:
            (points,) = axes.plot(series.steps, series.values, "o--", color=line.colour, label=line.label)
            points.set(markersize=4, linewidth=0.8)
        elif len(series.steps) < _SMOOTH_FROM:
            axes.plot(series.steps, series.values, color=line.colour, label=line.label, linewidth=1.2)
        else:
            smoothed = True
            axes.plot(series.steps, series.values, color=line.colour, alpha=0.22, linewidth=0.7)
            axes.plot(series.steps, moving_mean(series), color=line.colour, label=line.label, linewidth=1.5)
    if fraction:
        axes.set_ylim(0, 1.02)
    _legend_above(figure, axes)
    absent = [line.label for line in lines if line not in [drawn for drawn, _ in found]]
    notes = ["Bold: moving mean over a tenth of the steps."] if smoothed else []
    notes += [f"Not logged: {', '.join(absent)}."] if absent else []
    return Chart(title, _uri(figure), " ".join(notes))


def moving_mean(series: Series) -> list[float]:
    """Centred, over a tenth of the series; at the ends over what there is."""
    half = max(1, len(series.values) // 20)
    parts = [series.values[max(0, i - half) : i + half + 1] for i in range(len(series.values))]
    return [sum(part) / len(part) for part in parts]


def proxy_chart(proxy: Proxy) -> Chart | None:
    """Histograms, side by side or as outlines, with each policy's total-variation distance in the legend."""
    if not proxy.values:
        return None
    figure, axes = _axes("share of responses")
    edges = [edge for name in proxy.values for edge in proxy.shares(name)]
    bins = range(min(edges), max(edges) + proxy.width, proxy.width)
    for index, name in enumerate(proxy.values):
        shares, distance = proxy.shares(name), proxy.distance(name)
        label = TITLES[name] + (f", TV {distance:.2f}" if distance is not None and name != "teacher" else "")
        heights = [shares.get(edge, 0.0) for edge in bins]
        if len(bins) <= _GROUPED_BINS:
            width = 0.8 * proxy.width / len(proxy.values)
            # A bin of several values is centred between its first and its last.
            shift = (proxy.width - 1) / 2 + (index - (len(proxy.values) - 1) / 2) * width
            axes.bar([edge + shift for edge in bins], heights, width, color=COLOURS[name], label=label)
        else:
            outline = (*bins, bins[-1] + proxy.width)
            axes.stairs(heights, outline, label=label, color=COLOURS[name], linewidth=1.4)
    axes.set_xlabel(proxy.unit)
    if proxy.width == 1:
        axes.set_xticks(bins[:: -(-len(bins) // 12)])
    axes.set_ylim(bottom=0)
    _legend_above(figure, axes)
    notes = [f"Bins of {proxy.width} {proxy.unit}."] if proxy.width > 1 else []
    notes += [] if "teacher" in proxy.values else ["The teacher is left out: no tokenizer or no teacher responses."]
    return Chart(proxy.title, _uri(figure), " ".join(notes))


def seconds_chart(run: Run, stage: str, colour: str) -> Chart | None:
    """Mean wall-clock seconds of each phase of a step."""
    if stage not in run.stages:
        return None
    own = run.stages[stage]
    means = {key.removeprefix("seconds/"): mean(own.series(key).values) or 0.0 for key in own.keys("seconds/")}
    if not means:
        return None
    figure, axes = _axes("")
    names = sorted(means, key=lambda name: means[name])
    axes.barh([name.replace("_", " ") for name in names], [means[name] for name in names], color=colour, height=0.6)
    for y, name in enumerate(names):
        spot = (means[name], y)
        axes.annotate(f"{means[name]:.2f}", spot, (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlabel("seconds a step (one rollout batch), mean")
    axes.margins(x=0.12)
    return Chart(
        f"Seconds per phase: {PHASES[stage]}", _uri(figure), f"Sum of the phases: {sum(means.values()):.2f} s a step."
    )


def _axes(ylabel: str) -> tuple[Figure, Axes]:
    with mpl.rc_context(_STYLE):
        figure = Figure(_SIZE, layout="constrained")
        axes = figure.subplots()
    axes.set_ylabel(ylabel)
    axes.set_axisbelow(True)
    return figure, axes


def _legend_above(figure: Figure, axes: Axes) -> None:
    """Outside the data, in two columns."""
    with mpl.rc_context(_STYLE):
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
