"""Kernel densities against arithmetic and against scikit-learn's."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.neighbors import KernelDensity

from prism_pl.report import densities
from prism_pl.report.collect import collect
from prism_pl.report.densities import bandwidth, density, density_chart
from prism_pl.report.distribution import Proxy
from prism_pl.report.drawing import svg_uri
from tests.prism_pl.report.fake_run import fake_run


def test_bandwidth_is_silvermans_with_a_floor() -> None:
    # 0, 4, .., 124: s = 4 sqrt((32^2 - 1) / 12) = 36.932, IQR / 1.34 = 62 / 1.34 = 46.27, 32^(-1/5) = 1/2.
    assert bandwidth(range(0, 128, 4)) == pytest.approx(0.9 * 36.932 / 2, abs=1e-3)
    # Two far ones beyond the middle half: 15.5 / 1.34 of 0, 1, .., 31.
    assert bandwidth([*range(30), 500, 900]) == pytest.approx(0.9 * 15.5 / 1.34 / 2, abs=1e-9)
    # Most are equal: the quartiles are 0 apart, s = 4 * sqrt(1/32 * 31/32).
    assert bandwidth([10] * 31 + [14]) == 0.5
    assert bandwidth([10] * 31 + [1034]) == pytest.approx(0.9 * 1024 * (31 / 1024) ** 0.5 / 2)


def test_density_is_a_gaussian_kernels() -> None:
    values = [1, 1, 2, 5, 9, 9, 30]
    points = np.linspace(-40, 80, 500)
    kernel = KernelDensity(kernel="gaussian", bandwidth=bandwidth(values)).fit(np.array(values)[:, None])
    assert density(values, points) == pytest.approx(np.exp(kernel.score_samples(points[:, None])), abs=1e-9)
    assert np.trapezoid(density(values, points), points) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("teacher", "own", "left", "right"),
    # Bandwidths of a half, so that 1.5 is drawn beyond the outermost; nothing is below 0.
    [((3, 3), (1, 2), 0.0, 4.5), ((10, 10), (20, 21), 8.5, 22.5), ((20, 20), (11, 10), 8.5, 21.5)],
)
def test_a_chart_has_a_line_for_each_and_room_for_all(
    teacher: tuple[int, ...],
    own: tuple[int, ...],
    left: float,
    right: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, drawn = collect(fake_run(tmp_path)), []
    monkeypatch.setattr(densities, "svg_uri", lambda figure: drawn.append(figure) or svg_uri(figure))
    assert density_chart(run, Proxy("Items", "items", {})) is None
    chart = density_chart(run, Proxy("Items", "items", {"teacher": teacher, "sft": own}))
    assert chart is not None
    assert (chart.title, chart.uri[:26]) == ("Items, density", "data:image/svg+xml;base64,")
    (axes,) = drawn[0].axes
    assert axes.get_xlim() == pytest.approx((left, right))
    # The highest point of two equal values is at them: 1 / (0.5 sqrt(2 pi)).
    bottom, top = axes.get_ylim()
    assert bottom == 0
    assert top > 0.79
    assert axes.get_xlabel() == "items"
    dashed, solid = axes.get_lines()
    assert [dashed.get_linestyle(), solid.get_linestyle()] == ["--", "-"]
    assert [dashed.get_color(), solid.get_color()] == [run.colour("teacher"), run.colour("sft")]
    assert [dashed.get_label(), solid.get_label()] == [f"teacher, mean {teacher[0]}.0", f"SFT, mean {sum(own) / 2:.1f}"]
    x, height = dashed.get_data()
    assert x[height.argmax()] == pytest.approx(teacher[0], abs=0.05)
    assert max(height) == pytest.approx(0.7979, abs=1e-3)
    for line, filled in zip((dashed, solid), axes.collections, strict=True):
        assert filled.get_facecolor()[0][:3] == pytest.approx(to_rgb(line.get_color()))
