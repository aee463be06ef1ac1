"""Distances between distributions of shape, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.metrics.proxies import shares, total_variation

distributions = st.lists(st.integers(0, 20), min_size=1, max_size=30).map(shares)


def test_shares_by_hand() -> None:
    assert shares([3, 4, 4, 3, 4, 1, 4, 4]) == {1: 1 / 8, 3: 2 / 8, 4: 5 / 8}
    # Bins of 4: 0 to 3, 4 to 7, 8 to 11.
    assert shares([0, 3, 4, 9], width=4) == {0: 0.5, 4: 0.25, 8: 0.25}


def test_total_variation_by_hand() -> None:
    assert total_variation({1: 1.0}, {1: 1.0}) == 0
    assert total_variation({1: 1.0}, {2: 1.0}) == 1
    assert total_variation({1: 0.2, 2: 0.8}, {2: 0.5, 3: 0.5}) == pytest.approx((0.2 + 0.3 + 0.5) / 2)


@given(p=distributions, q=distributions, r=distributions)
def test_total_variation_is_a_distance(p: dict[int, float], q: dict[int, float], r: dict[int, float]) -> None:
    assert sum(p.values()) == pytest.approx(1)
    assert total_variation(p, p) == 0
    assert total_variation(p, q) == pytest.approx(total_variation(q, p))
    assert total_variation(p, q) <= total_variation(p, r) + total_variation(r, q) + 1e-12
    assert (total_variation(p, q) > 1e-9) == any(abs(p.get(x, 0) - q.get(x, 0)) > 1e-9 for x in {*p, *q})
    assert (total_variation(p, q) > 1 - 1e-9) == (not p.keys() & q.keys())
