"""The floor: what a distance is when nothing has drifted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_pl.drift import FrechetDistance, KernelDistance, Precision, TotalVariation, Wasserstein, drift, floor_of


def numbers(*values: int) -> list[torch.Tensor]:
    return [torch.tensor([value]) for value in values]


def drawn(seed: int, count: int, samples: int, shift: float = 0.0) -> list[list[torch.Tensor]]:
    """Of each prompt several points (1, 6)."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, 6, generator=generator) + shift for _ in range(samples)] for _ in range(count)]


def test_two_prompts_by_hand() -> None:
    """The halves are one prompt each: A = {0}, B = {1} or the other way round."""
    found = drift(Wasserstein(), [[value] for value in numbers(7, 9)], numbers(1, 2), splits=64)
    assert found is not None
    # The policy's 7 against the teacher's 2, or 9 against 1; the teacher's 1 against 2 either way.
    assert {found.value.low, found.value.high} == {5.0, 8.0}
    assert 5 < found.value.mean < 8
    assert (found.floor.mean, found.floor.low, found.floor.high) == (1.0, 1.0, 1.0)


def test_one_of_a_prompts_responses_is_taken() -> None:
    # Were several taken, a distribution of 0 and 10 were half a step from either alone.
    found = drift(Wasserstein(), [numbers(0, 10), numbers(0, 10)], numbers(0, 0), splits=64)
    assert found is not None
    assert {found.value.low, found.value.high} == {0.0, 10.0}


def test_a_policy_that_is_the_teacher_has_the_floors_values() -> None:
    own = [point for (point,) in drawn(0, 20, 1)]
    found = drift(FrechetDistance(), [[point] for point in own], own)
    assert found is not None
    assert found.value == found.floor


@pytest.mark.parametrize("kind", [FrechetDistance, KernelDistance, Precision])
def test_the_floor_covers_no_drift(kind: type) -> None:
    """Policy and teacher draw from one distribution: in 19 of 20 seeds or more the value lies in the floor's range."""
    inside = 0
    for seed in range(20):
        teacher = [point for (point,) in drawn(2 * seed, 40, 1)]
        found = drift(kind(), drawn(2 * seed + 1, 40, 4), teacher, splits=60)
        assert found is not None
        inside += found.floor.low <= found.value.mean <= found.floor.high
    assert inside >= 19


def test_rare_values_show_no_drift() -> None:
    """One of 20 in policy and teacher alike: in every seed the value's range reaches the floor's."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        said, taught = (torch.rand(60, generator=generator) < 0.05 for _ in range(2))
        found = drift(TotalVariation(), [numbers(int(own)) for own in said], numbers(*map(int, taught)), splits=60)
        assert found is not None
        assert found.value.low <= found.floor.high + 1e-9


def test_drift_lies_above_the_floor() -> None:
    teacher = [point for (point,) in drawn(0, 40, 1)]
    found = drift(FrechetDistance(), drawn(1, 40, 4, shift=1.5), teacher, splits=60)
    assert found is not None
    # Six dimensions, each 1.5 apart: 13.5 more than the floor, up to the sample.
    assert found.value.mean - found.floor.mean == pytest.approx(13.5, abs=3)
    assert found.value.low > found.floor.high


def test_the_interval_is_as_wide_as_that_of_a_mean() -> None:
    """W1 of a policy far above a teacher that always says 0 is the policy's mean: 1.96 standard errors of 100 prompts."""
    generator = torch.Generator().manual_seed(0)
    said = torch.randint(100, 200, (100,), generator=generator)
    found = drift(Wasserstein(), [[value[None]] for value in said], [torch.tensor([0])] * 100, splits=2000)
    assert found is not None
    error = float(said.double().std()) / 100**0.5
    assert found.value.mean == pytest.approx(float(said.double().mean()), abs=0.3)
    assert (found.value.high - found.value.low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert (found.floor.low, found.floor.high) == (0.0, 0.0)


@settings(max_examples=20)
@given(values=st.lists(st.integers(0, 9), min_size=4, max_size=12), seed=st.integers(0, 9))
def test_a_floor_is_a_distance(values: list[int], seed: int) -> None:
    own = floor_of(TotalVariation(), numbers(*values), splits=10, seed=seed)
    assert own is not None
    # A sum of shares may be 1 and a rounding.
    assert 0 <= own.low <= own.mean <= own.high <= 1 + 1e-12
    assert own == floor_of(TotalVariation(), numbers(*values), splits=10, seed=seed), "the splits are fixed"
    if len(set(values)) == 1:
        assert own.high == 0


def test_too_little_has_no_floor() -> None:
    assert floor_of(TotalVariation(), numbers(3)) is None
    assert floor_of(TotalVariation(), [torch.zeros(0, dtype=torch.long)] * 4) is None
    assert floor_of(Precision(), [torch.zeros(1, 2)] * 6) is None, "three points have no third neighbour"
