"""Distances of clouds of embeddings: in closed form, against torchmetrics' own, and over ranks."""

import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from prism_pl.drift import (
    CLOUD_DISTANCES,
    CloudDistance,
    FrechetDistance,
    KernelDistance,
    Precision,
    Recall,
    measured,
)

KINDS = list(CLOUD_DISTANCES.values())


class Itself(nn.Module):
    """The network of torchmetrics' metrics that gives what it is given."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, point_NH: torch.Tensor) -> torch.Tensor:
        return point_NH


def cloud(seed: int, count: int, width: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) * scale + shift


def test_frechet_of_two_gaussians_in_one_dimension() -> None:
    # (mean difference)^2 + (standard deviations' difference)^2; -1, 1 has the variance 2, and 0, 3, 6 has 9.
    policy, teacher = torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.0], [3.0], [6.0]])
    assert measured(FrechetDistance(), policy, teacher) == pytest.approx((0 - 3) ** 2 + (2**0.5 - 9**0.5) ** 2)


@pytest.mark.parametrize(("count", "other"), [(40, 60), (5, 60), (5, 4)])
def test_frechet_is_torchmetrics(count: int, other: int) -> None:
    """With more points than dimensions on both sides, on one and on none."""
    policy, teacher = cloud(0, count, 8, 0.3, 1.5), cloud(1, other, 8)
    theirs = FrechetInceptionDistance(Itself(8))
    theirs.update(teacher, real=True)
    theirs.update(policy, real=False)
    # Eigenvalues of a singular product are zeros to the root of a rounding error.
    tolerance = 1e-9 if count > 8 else 1e-5
    assert measured(FrechetDistance(), policy, teacher) == pytest.approx(float(theirs.compute()), rel=tolerance)


def test_kernel_distance_of_two_points_a_side() -> None:
    # k(x, y) = (x y + 1)^3. Policy 0, 1: k = 1. Teacher 1, 2: k = 27. Across 0-1: 1, 0-2: 1, 1-1: 8, 1-2: 27; mean 37/4.
    policy, teacher = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    assert measured(KernelDistance(), policy, teacher) == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_kernel_distance_is_torchmetrics() -> None:
    policy, teacher = cloud(0, 30, 8, 0.3), cloud(1, 30, 8)
    theirs = KernelInceptionDistance(Itself(8), subsets=1, subset_size=30)
    theirs.update(teacher, real=True)
    theirs.update(policy, real=False)
    assert measured(KernelDistance(), policy, teacher) == pytest.approx(float(theirs.compute()[0]), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    """Its mean over pairs of equal samples is 0: 400 of them are within four standard errors."""
    found = torch.tensor([measured(KernelDistance(), cloud(2 * i, 10, 4), cloud(2 * i + 1, 10, 4)) for i in range(400)])
    assert abs(float(found.mean())) < 4 * float(found.std()) / 400**0.5
    assert 0.3 < float((found < 0).double().mean()) < 0.8


def test_precision_and_recall_by_hand() -> None:
    # The teacher's 0, 1, 2, 3: third neighbours at 3, 2, 2, 3, so the balls cover [-3, 6].
    teacher = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    policy = torch.tensor([[-3.0], [5.9], [6.1], [100.0]])
    assert measured(Precision(), policy, teacher) == 0.5
    # The policy's balls: 103 around -3, 94.1 around 5.9, and so on: all of the teacher's lie in them.
    assert measured(Recall(), policy, teacher) == 1.0
    # A policy that has collapsed says nothing wrong, and misses what lies away from it.
    collapsed = torch.full((4, 1), 1.0)
    assert measured(Precision(), collapsed, teacher) == 1.0
    assert measured(Recall(), collapsed, teacher) == 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_order_does_not_matter(kind: type[CloudDistance]) -> None:
    policy, teacher = cloud(0, 12, 5, 0.5), cloud(1, 15, 5)
    expected = measured(kind(), policy, teacher)
    assert expected == pytest.approx(measured(kind(), policy.flip(0), teacher.flip(0)), rel=1e-9)


def test_a_cloud_is_itself() -> None:
    own = cloud(0, 12, 5)
    assert measured(FrechetDistance(), own, own) == pytest.approx(0, abs=1e-9)
    assert measured(Precision(), own, own) == measured(Recall(), own, own) == 1
    # Symmetric, and precision is recall with the roles exchanged.
    other = cloud(1, 9, 5, 1.0)
    for kind in (FrechetDistance, KernelDistance):
        assert measured(kind(), own, other) == pytest.approx(measured(kind(), other, own), rel=1e-9)
    assert measured(Precision(), own, other) == measured(Recall(), other, own)


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_points_have_no_distance(kind: type[CloudDistance]) -> None:
    assert measured(kind(), cloud(0, kind.fewest - 1, 3), cloud(1, 9, 3)) is None
    assert measured(kind(), cloud(0, 9, 3), cloud(1, kind.fewest - 1, 3)) is None
    assert measured(kind(), cloud(0, kind.fewest, 3), cloud(1, kind.fewest, 3)) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_over_ranks_it_is_that_of_all_points(kind: type[CloudDistance]) -> None:
    policy, teacher = cloud(0, 12, 5, 0.5), cloud(1, 15, 5)
    first, second = kind(), kind()
    first.update(policy[:4], teacher[:10])
    # In two updates, as batches come.
    second.update(policy[4:9], teacher[10:11])
    second.update(policy[9:], teacher[11:])
    expected = pytest.approx(measured(kind(), policy, teacher), rel=1e-9)
    # As torch.distributed would bring them: the first state of both ranks, then the second.
    others = iter([policy[4:], teacher[10:]])
    first.dist_sync_fn = lambda own, group: [own, next(others)]
    first.distributed_available_fn = lambda: True
    assert float(first.compute()) == expected
    first.distributed_available_fn = lambda: False
    # And by torchmetrics' merging.
    first.merge_state(second)
    first.update(policy[:0], teacher[:0])
    assert float(first.compute()) == expected
