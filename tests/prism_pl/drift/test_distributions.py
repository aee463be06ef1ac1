"""Distances of distributions of whole numbers: by hand, as distances must be, and over ranks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.drift import (
    LENGTH_BINS,
    CountDistance,
    JensenShannon,
    KullbackLeibler,
    TotalVariation,
    Wasserstein,
    bin_width,
    measured,
    shares,
)
from prism_pl.metrics.collection import StepMetrics, local
from tests.stand_in_ranks import over_ranks

KINDS: list[type[CountDistance]] = [TotalVariation, Wasserstein, KullbackLeibler, JensenShannon]
values = st.lists(st.integers(0, 30), min_size=1, max_size=30)


def between(metric: CountDistance, policy: list[int], teacher: list[int]) -> float:
    found = measured(metric, torch.tensor(policy), torch.tensor(teacher))
    assert found is not None
    return found


def test_shares_by_hand() -> None:
    assert shares([3, 4, 4, 3, 4, 1, 4, 4]) == {1: 1 / 8, 3: 2 / 8, 4: 5 / 8}
    # Bins of 4: 0 to 3, 4 to 7, 8 to 11.
    assert shares([0, 3, 4, 9], width=4) == {0: 0.5, 4: 0.25, 8: 0.25}


def test_total_variation_by_hand() -> None:
    assert between(TotalVariation(), [1, 1], [1]) == 0
    assert between(TotalVariation(), [1], [2]) == 1
    # Shares 0.2, 0.8, 0 against 0, 0.5, 0.5.
    assert between(TotalVariation(), [1, 2, 2, 2, 2], [2, 3]) == pytest.approx((0.2 + 0.3 + 0.5) / 2)


def test_bins_are_the_teachers() -> None:
    # The teacher's longest is 8: two bins are 4 wide. Policy 0 to 3: 1/2, 4 to 7: 1/4, 12 to 15: 1/4; teacher 1/2, 0, 1/2.
    metric = TotalVariation(num_bins=2)
    assert between(metric, [0, 3, 4, 12], [1, 8]) == pytest.approx((0 + 1 / 4 + 1 / 2 + 1 / 4) / 2)
    # A policy that goes on and on moves no bin: only its own share.
    assert between(metric, [0, 3, 4, 3000], [1, 8]) == between(metric, [0, 3, 4, 12], [1, 8])


def test_wasserstein_of_shifted_values_is_the_shift() -> None:
    assert between(Wasserstein(), [5, 6, 9], [2, 3, 6]) == pytest.approx(3)
    # Half of the mass moves by 4.
    assert between(Wasserstein(), [0, 4], [0]) == pytest.approx(2)


def test_kullback_leibler_by_hand() -> None:
    # Counts (3, 0) and (1, 1); smoothed policy (3.5, 0.5) / 4, teacher (1.5, 1.5) / 3.
    expected = 0.5 * math.log(0.5 / (3.5 / 4)) + 0.5 * math.log(0.5 / (0.5 / 4))
    assert between(KullbackLeibler(), [7, 7, 7], [7, 9]) == pytest.approx(expected)


def test_jensen_shannon_by_hand() -> None:
    assert between(JensenShannon(), [1, 2], [3, 4]) == pytest.approx(1)
    # p = (1, 0), q = (1/2, 1/2), middle (3/4, 1/4): H = 2 - 3/4 log2 3, less (0 + 1) / 2.
    assert between(JensenShannon(), [1], [1, 2]) == pytest.approx(2 - 0.75 * math.log2(3) - 0.5)


def test_nothing_on_a_side_has_no_distance() -> None:
    empty, one = torch.zeros(0, dtype=torch.long), torch.tensor([1])
    for kind in KINDS:
        assert measured(kind(), empty, one) is None
        assert measured(kind(), one, empty) is None


def test_values_beyond_the_size_count_as_the_last() -> None:
    assert between(Wasserstein(size=11), [10_000], [7]) == 3


@pytest.mark.parametrize("kind", KINDS)
@given(policy=values, teacher=values)
def test_distances_behave(kind: type[CountDistance], policy: list[int], teacher: list[int]) -> None:
    metric = kind()
    found = between(metric, policy, teacher)
    assert found >= 0
    assert between(metric, policy, policy) == pytest.approx(0, abs=1e-12)
    assert between(metric, policy[::-1], sorted(teacher)) == pytest.approx(found, abs=1e-12)
    if kind is not KullbackLeibler:
        assert between(metric, teacher, policy) == pytest.approx(found, abs=1e-12)
        assert (found > 1e-9) == (shares(policy) != pytest.approx(shares(teacher)))
    if kind in (TotalVariation, JensenShannon):
        assert found <= 1 + 1e-12
        assert (found > 1 - 1e-9) == (not {*policy} & {*teacher})


@pytest.mark.parametrize("kind", [TotalVariation, Wasserstein])
@given(policy=values, teacher=values, third=values)
def test_triangle(kind: type[CountDistance], policy: list[int], teacher: list[int], third: list[int]) -> None:
    metric = kind()
    direct = between(metric, policy, teacher)
    assert direct <= between(metric, policy, third) + between(metric, third, teacher) + 1e-9


lengths = st.lists(st.integers(0, 200), max_size=12)


@given(policy=st.lists(lengths, min_size=2, max_size=2), teacher=st.lists(lengths, min_size=2, max_size=2))
def test_over_ranks_it_is_that_of_all_values(policy: list[list[int]], teacher: list[list[int]]) -> None:
    kinds = {kind.__name__: (kind, {}) for kind in KINDS} | {"bins": (TotalVariation, {"num_bins": LENGTH_BINS})}
    ranks = [StepMetrics({name: local(kind, **options) for name, (kind, options) in kinds.items()}) for _ in policy]
    for rank, own, taught in zip(ranks, policy, teacher, strict=True):
        for name in kinds:
            rank.add(name, torch.tensor(own), torch.tensor(taught))
    said = [value for own in policy for value in own]
    taught = [value for values in teacher for value in values]
    expected = {}
    if said and taught:
        expected = {
            name: pytest.approx(between(kind(**options), said, taught), abs=1e-12)
            for name, (kind, options) in kinds.items()
        }
        width = bin_width(max(taught), LENGTH_BINS)
        p, q = shares(said, width), shares(taught, width)
        by_hand = sum(abs(p.get(x, 0.0) - q.get(x, 0.0)) for x in p.keys() | q.keys()) / 2
        assert expected["bins"] == by_hand
    assert over_ranks(ranks) == [expected] * 2


def test_merged_states_are_those_of_one() -> None:
    """torchmetrics' own merging gives the same."""
    first, second, whole = Wasserstein(), Wasserstein(), Wasserstein()
    first.update(torch.tensor([1, 2]), torch.tensor([4]))
    second.update(torch.tensor([9]), torch.tensor([3, 3]))
    whole.update(torch.tensor([1, 2, 9]), torch.tensor([4, 3, 3]))
    first.merge_state(second)
    # Running sums of the shares: |F - G| = 1/3 at 1, 2/3 at 2, 0 at 3, 1/3 from 4 to 8.
    assert float(first.compute()) == float(whole.compute()) == pytest.approx(1 / 3 + 2 / 3 + 0 + 5 / 3)
