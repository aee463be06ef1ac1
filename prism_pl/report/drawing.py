"""What all charts share: a small SVG each, so that they stack on a phone instead of shrinking, in one style."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
_WIDTH, _HEIGHT = 4.6, 3.0


@dataclass(frozen=True)
class Chart:
    """A drawn chart."""

    title: str
    uri: str
    note: str = ""


def new_axes(ylabel: str, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    """An empty chart; ``height`` in inches, if it has many rows."""
    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, max(_HEIGHT, height)), layout="constrained")
        axes = figure.subplots()
    axes.set_ylabel(ylabel)
    axes.set_axisbelow(True)
    return figure, axes


def legend_above(figure: Figure, axes: Axes) -> None:
    """Outside the data, in two columns."""
    with mpl.rc_context(_STYLE):
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)


def svg_uri(figure: Figure) -> str:
    """The chart as the address of an image that holds itself."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
