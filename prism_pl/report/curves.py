"""Metrics over the updates of a stage, or one metric of several stages over each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from prism_pl.report.collect import Series, Stage
from prism_pl.report.drawing import Chart, legend_above, new_axes, svg_uri
from prism_pl.types import ASPECTS

# No colour of a metric is one of a stage's.
COLOURS = {"perception": "#c2478d", "reasoning": "#56508f", "first": "#5b6470", "second": "#17a2b8"}
"""Of the aspects, and of what else a chart shows."""
_SMOOTH_FROM = 60
"""Longer lines get a moving mean over a tenth of their length."""


@dataclass(frozen=True)
class Line:
    """A metric to draw over steps."""

    key: str
    label: str
    colour: str
    heldout: bool = False
    """Drawn as points: a few evaluations instead of every step."""


@dataclass(frozen=True)
class _Drawn:
    """A line with its values in one stage."""

    line: Line
    series: Series
    interval: tuple[Series, Series] | None

    @classmethod
    def of(cls, stage: Stage, line: Line) -> "_Drawn":
        """The interval is that of evaluations, where it was logged."""
        return cls(line, stage.series(line.key), stage.interval(line.key) if line.heldout else None)

    @property
    def is_smoothed(self) -> bool:
        return not self.line.heldout and len(self.series.steps) >= _SMOOTH_FROM


def gap_lines(prefix: str, heldout_prefix: str) -> list[Line]:
    """Both experts, in training and held out."""
    return [
        Line(f"{start}{aspect}", f"{aspect}, {'held out' if heldout else 'training'}", COLOURS[aspect], heldout)
        for aspect in ASPECTS
        for start, heldout in ((prefix, False), (heldout_prefix, True))
    ]


def line_chart(
    stage: Stage | None, title: str, unit: str, lines: Sequence[Line], *, reference: float, fraction: bool = False
) -> Chart | None:
    """Metrics of one stage over its steps; None if there is none of them. ``reference`` is a level to compare with."""
    drawn = [] if stage is None else [_Drawn.of(stage, line) for line in lines]
    return _chart(title, unit, f"{stage.phase}: updates" if stage else "", drawn, reference, fraction)


def branches_chart(
    stages: Sequence[Stage],
    title: str,
    unit: str,
    key: str,
    *,
    reference: float,
    fraction: bool = False,
    heldout: bool = False,
) -> Chart | None:
    """One metric of several stages, each over its own steps."""
    drawn = [_Drawn.of(stage, Line(key, stage.phase, stage.colour, heldout)) for stage in stages]
    return _chart(title, unit, "updates of the stage", drawn, reference, fraction)


def moving_mean(series: Series) -> list[float]:
    """Centred, over a tenth of the series; at the ends over what there is."""
    half = max(1, len(series.values) // 20)
    parts = [series.values[max(0, i - half) : i + half + 1] for i in range(len(series.values))]
    return [sum(part) / len(part) for part in parts]


def _chart(title: str, unit: str, xlabel: str, lines: Sequence[_Drawn], reference: float, fraction: bool) -> Chart | None:
    found = [own for own in lines if own.series]
    if not found:
        return None
    figure, axes = new_axes(unit)
    axes.set_xlabel(xlabel)
    axes.axhline(reference, color="#9aa2ab", linewidth=0.8, linestyle=":")
    for own in found:
        _draw(axes, own)
    if fraction:
        axes.set_ylim(0, 1.02)
    legend_above(figure, axes)
    absent = [own.line.label for own in lines if not own.series]
    notes = ["Bold: moving mean over a tenth of the steps."] if any(own.is_smoothed for own in found) else []
    notes += ["Bands: 95% intervals of each evaluation."] if any(own.interval for own in found) else []
    notes += [f"Not logged: {', '.join(absent)}."] if absent else []
    return Chart(title, svg_uri(figure), " ".join(notes))


def _draw(axes: Axes, own: _Drawn) -> None:
    line, series = own.line, own.series
    if line.heldout:
        (points,) = axes.plot(series.steps, series.values, "o--", color=line.colour, label=line.label)
        points.set(markersize=4, linewidth=0.8)
        if own.interval is not None:
            low, high = own.interval
            axes.fill_between(low.steps, low.values, high.values, color=line.colour, alpha=0.15, linewidth=0)
    elif own.is_smoothed:
        axes.plot(series.steps, series.values, color=line.colour, alpha=0.22, linewidth=0.7)
        axes.plot(series.steps, moving_mean(series), color=line.colour, label=line.label, linewidth=1.5)
    else:
        axes.plot(series.steps, series.values, color=line.colour, label=line.label, linewidth=1.2)
