"""Kernel densities against arithmetic and against scikit-learn's."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from prism_pl.report.collect import collect
from prism_pl.report.densities import bandwidth, density, density_chart
from prism_pl.report.distribution import Proxy
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


def test_a_chart_needs_values(tmp_path: Path) -> None:
    run = collect(fake_run(tmp_path))
    assert density_chart(run, Proxy("Items", "items", {})) is None
    chart = density_chart(run, Proxy("Items", "items", {"teacher": (3, 3), "sft": (1, 2)}))
    assert chart is not None
    assert chart.title == "Items, density"
