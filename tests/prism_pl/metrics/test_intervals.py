"""pass@k and intervals by hand."""

import pytest

from prism_pl.metrics.intervals import half_width, pass_at_k, wilson


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(5, 0, 3) == 0.0
    assert pass_at_k(5, 3, 3) == 1.0  # two wrong ones cannot fill three places
    assert pass_at_k(5, 1, 1) == pytest.approx(0.2)
    assert pass_at_k(5, 2, 2) == pytest.approx(1 - 3 / 10)


def test_intervals_at_their_ends() -> None:
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    assert half_width([0.3]) is None
    assert half_width([1.0, 1.0]) == 0.0
