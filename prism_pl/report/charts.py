"""Charts of the policies side by side: accuracy, shape of the responses, seconds."""

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from prism_pl.report.collect import Run, Stage
from prism_pl.report.comparisons import Comparison
from prism_pl.report.distribution import Proxy
from prism_pl.report.drawing import Chart, legend_above, new_axes, svg_uri
from prism_pl.report.table import Row, Share, mean, share

_GROUPED_BINS = 10
"""Up to so many bins the bars of the policies stand side by side; beyond that they would be too thin."""
_TICK_LETTERS = 12
"""Of a line of a title below a bar."""


def accuracy_chart(run: Run, rows: Sequence[Row]) -> Chart | None:
    """Greedy and sampled held-out accuracy of each stage with intervals."""
    drawn = {stage.name for stage in run.drawn}
    stages = [row for row in rows if row.name in drawn and row.accuracy and row.sampled]
    if not stages:
        return None
    figure, axes = new_axes("share of held-out prompts")
    for x, row in enumerate(stages):
        for offset, value, alpha in ((-0.19, row.accuracy, 1.0), (0.19, row.sampled, 0.45)):
            assert value is not None
            _bar(axes, x + offset, value, run.colour(row.name), alpha)
    axes.set_xticks(range(len(stages)), [textwrap.fill(run.title(row.name), _TICK_LETTERS) for row in stages])
    axes.set_ylim(0, 1)
    note = "Strong: greedy; faint: sampled at temperature 1. Whiskers: 95% Wilson intervals."
    return Chart("Held-out accuracy", svg_uri(figure), note)


def _bar(axes: Axes, x: float, value: Share, colour: str, alpha: float) -> None:
    low, high = value.interval
    axes.bar(x, value.value, 0.34, color=colour, alpha=alpha)
    axes.errorbar(x, value.value, [[value.value - low], [high - value.value]], color="#222", linewidth=1, capsize=3)
    axes.annotate(f"{value.value:.2f}", (x, high), (0, 3), textcoords="offset points", ha="center", fontsize=8)


def accuracies_chart(stages: Mapping[str, Sequence[Stage]], titles: Mapping[str, str]) -> Chart | None:
    """Held-out accuracy of several runs: a place on the axis a stage's name, a dot with an interval a run."""
    if not stages:
        return None
    figure, axes = new_axes("share of held-out prompts")
    for x, group in enumerate(stages.values()):
        for place, stage in enumerate(group):
            shift = 0.5 * ((place + 0.5) / len(group) - 0.5)
            for offset, alpha, found in (
                (-0.03, 1.0, share(record.greedy_correct for record in stage.heldout)),
                (0.03, 0.45, share(record.sampled_correct for record in stage.heldout)),
            ):
                if found:
                    label = stage.phase if alpha == 1 and not x else None
                    _dot(axes, x + shift + offset, found, stage.colour, alpha, label)
    axes.set_xticks(range(len(stages)), [textwrap.fill(titles[name], _TICK_LETTERS) for name in stages])
    axes.set_xlim(-0.5, len(stages) - 0.5)
    axes.set_ylim(0, 1)
    legend_above(figure, axes)
    note = "Strong: greedy; faint: sampled at temperature 1. Whiskers: 95% Wilson intervals."
    return Chart("Held-out accuracy", svg_uri(figure), note)


def _dot(axes: Axes, x: float, value: Share, colour: str, alpha: float, label: str | None) -> None:
    low, high = value.interval
    ends = [[max(0.0, value.value - low)], [max(0.0, high - value.value)]]
    axes.errorbar(x, value.value, ends, fmt="o", color=colour, alpha=alpha, capsize=3, markersize=4, label=label)


def difference_chart(compared: Sequence[Comparison]) -> Chart | None:
    """Differences of accuracy as dots with their intervals; 0 is no difference."""
    if not compared:
        return None
    figure, axes = new_axes("", 0.8 + 0.45 * len(compared))
    axes.axvline(0, color="#9aa2ab", linewidth=0.8, linestyle=":")
    for y, comparison in enumerate(compared):
        for offset, value, alpha in ((-0.12, comparison.greedy, 1.0), (0.12, comparison.sampled, 0.45)):
            low, high = (value.mean if end is None else end for end in (value.low, value.high))
            # Of equal values the interval's ends may lie a rounding error on the wrong side of the mean.
            width = [[100 * max(0.0, value.mean - low)], [100 * max(0.0, high - value.mean)]]
            axes.errorbar(
                100 * value.mean, y + offset, xerr=width, fmt="o", color=comparison.own.colour, alpha=alpha, capsize=3
            )
    names = [f"{comparison.own.title}\n- {comparison.other.title}" for comparison in compared]
    axes.set_yticks(range(len(compared)), names)
    axes.set_ylim(len(compared) - 0.5, -0.5)
    axes.set_xlabel("difference of held-out accuracy, points")
    note = "Strong: greedy; faint: sampled at temperature 1. Whiskers: 95% bootstrap intervals over paired prompts."
    return Chart("Differences", svg_uri(figure), note)


def proxy_chart(run: Run, proxy: Proxy) -> Chart | None:
    """Histograms, side by side or as outlines, with each policy's total-variation distance in the legend."""
    if not proxy.values:
        return None
    figure, axes = new_axes("share of responses")
    edges = [edge for name in proxy.values for edge in proxy.shares(name)]
    bins = range(min(edges), max(edges) + proxy.width, proxy.width)
    for index, name in enumerate(proxy.values):
        shares, distance = proxy.shares(name), proxy.distance(name)
        label = run.title(name) + (f", TV {distance:.2f}" if distance is not None and name != "teacher" else "")
        heights = [shares.get(edge, 0.0) for edge in bins]
        if len(bins) <= _GROUPED_BINS:
            width = 0.8 * proxy.width / len(proxy.values)
            # A bin of several values is centred between its first and its last.
            shift = (proxy.width - 1) / 2 + (index - (len(proxy.values) - 1) / 2) * width
            axes.bar([edge + shift for edge in bins], heights, width, color=run.colour(name), label=label)
        else:
            outline = (*bins, bins[-1] + proxy.width)
            axes.stairs(heights, outline, label=label, color=run.colour(name), linewidth=1.4)
    axes.set_xlabel(proxy.unit)
    if proxy.width == 1:
        axes.set_xticks(bins[:: -(-len(bins) // 12)])
    axes.set_ylim(bottom=0)
    legend_above(figure, axes)
    notes = [f"Bins of {proxy.width} {proxy.unit}."] if proxy.width > 1 else []
    notes += [f"TV of two random halves of the teacher's responses: {floor}."] if (floor := proxy.floor) else []
    notes += [] if "teacher" in proxy.values else ["The teacher is left out: no tokenizer or no teacher responses."]
    return Chart(proxy.title, svg_uri(figure), " ".join(notes))


def seconds_chart(stage: Stage) -> Chart | None:
    """Mean wall-clock seconds of each phase of a step."""
    means = {key.removeprefix("seconds/"): mean(stage.series(key).values) or 0.0 for key in stage.keys("seconds/")}
    if not means:
        return None
    figure, axes = new_axes("")
    names = sorted(means, key=lambda name: means[name])
    axes.barh([name.replace("_", " ") for name in names], [means[name] for name in names], color=stage.colour, height=0.6)
    for y, name in enumerate(names):
        spot = (means[name], y)
        axes.annotate(f"{means[name]:.2f}", spot, (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlabel("seconds a step (one rollout batch), mean")
    axes.margins(x=0.12)
    return Chart(
        f"Seconds per phase: {stage.phase}", svg_uri(figure), f"Sum of the phases: {sum(means.values()):.2f} s a step."
    )
