"""The bootstrap against cases whose answer is known without it."""

import numpy as np
import pytest

from prism_pl.metrics.bootstrap import draws, estimate, num_above, paired, stacked, with_interval


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = estimate(np.full((3, 5), 0.25))
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_two_seeds_by_hand() -> None:
    # Two seeds with the means 0 and 1: a draw is 0 (1/4), 1/2 (1/2) or 1 (1/4), so the quantiles are the ends.
    drawn = draws(stacked([[0.0, 0.0], [1.0, 1.0]]))
    # Three standard errors of a share of 1/4 in 10,000 draws: 3 * sqrt(3/16 / 10,000) = 0.013.
    assert [np.mean(drawn == value) for value in (0.0, 0.5, 1.0)] == pytest.approx([0.25, 0.5, 0.25], abs=0.015)
    found = estimate(stacked([[0.0, 0.0], [1.0, 1.0]]))
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)


def test_seeds_of_a_draw_share_their_prompts() -> None:
    # Equal seeds, prompts 0 and 1: with one draw of prompts for both seeds the variance of a draw is that of the mean of
    # two coins, (1/4) / 2 = 0.125. New prompts for each seed would give half of it where both seeds are drawn.
    assert draws(stacked([[0.0, 1.0], [0.0, 1.0]])).var() == pytest.approx(0.125, abs=0.006)


def test_one_seed_is_an_interval_over_prompts() -> None:
    # 400 prompts, half of them right: normal interval 0.5 +- 1.96 * sqrt(0.25 / 400) = 0.5 +- 0.049.
    found = estimate(stacked([[0.0, 1.0] * 200]))
    assert (found.low, found.high) == pytest.approx((0.451, 0.549), abs=0.006)


def test_one_value_has_no_interval() -> None:
    found = estimate(stacked([[0.3]]))
    assert (found.mean, found.low, found.high) == (0.3, None, None)


def test_the_same_values_give_the_same_interval() -> None:
    values = stacked([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    assert estimate(values) == estimate(values)
    assert (draws(values, seed=1) != draws(values)).any()


def test_seeds_above_are_counted_by_their_means() -> None:
    own, other = stacked([[1.0, 0.0], [1.0, 1.0], [0.1, 0.2]]), stacked([[0.0, 1.0], [0.0, 1.0], [0.2, 0.2]])
    # Means 0.5 : 0.5, 1 : 0.5, 0.15 : 0.2.
    assert num_above(own, other) == 1


def test_a_paired_difference_by_hand() -> None:
    # The first is right wherever the second is, and for 4 of 10 prompts more: each prompt differs by 1 or by 0.
    own, other = stacked([[1.0] * 7 + [0.0] * 3]), stacked([[1.0] * 3 + [0.0] * 7])
    found = paired(own, other)
    assert found.mean == pytest.approx(0.4)
    # A draw is the share of 10 draws from 4 ones: binomial, whose 2.5 % and 97.5 % quantiles at p = 0.4 are 1 and 7.
    assert (found.low, found.high) == pytest.approx((0.1, 0.7))
    assert with_interval(found, 2, "+") == "+0.40 [+0.10, +0.70]"
