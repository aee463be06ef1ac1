"""Distances between two clouds of embedded responses: how far the policy's is from the teacher's.

x_1..x_N  the policy's      y_1..y_M  the teacher's      H  an embedding's width      X', Y'  centred, over root N-1, M-1

Frechet     |mean x - mean y|^2 + tr Cx + tr Cy - 2 tr (Cx Cy)^1/2,       tr (Cx Cy)^1/2 = sum of singular values of X' Y'^T
            that of the Gaussians with the clouds' means and covariances (Heusel et al., arXiv 1706.08500)
MMD^2       mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j),        k(x, y) = (x . y / H + 1)^3
            unbiased, so around 0, and below it half the time, for equal clouds (Binkowski et al., arXiv 1801.01401)
precision   share of the policy's points that lie within some teacher's point's distance to its k-th neighbour
recall      the same with the roles exchanged: what the teacher does and the policy does, too
            (Kynkaanniemi et al., arXiv 1904.06991)

The first two are torchmetrics' FrechetInceptionDistance and KernelInceptionDistance, and equal to them in the tests. These
do not serve here: the first keeps only sums, of which no half can be taken for a floor and an interval, and its product of
covariances loses digits where there are fewer responses than dimensions; the second draws its subsets from the global
random stream, which training reads.
"""

from abc import abstractmethod
from typing import Any

import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

NEIGHBOURS = 3
"""k of precision and recall, the paper's."""
_DEGREE = 3
_ROUNDING = 1e-12


class CloudDistance(Metric):
    """Keeps every embedding, in the order of ranks; ``compute`` is None with too few of either side."""

    full_state_update = False
    policy: list[torch.Tensor]
    teacher: list[torch.Tensor]
    fewest = 2
    """Points of a side."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for state in ("policy", "teacher"):
            self.add_state(state, [], "cat")

    def update(self, policy_NH: torch.Tensor, teacher_MH: torch.Tensor) -> None:
        """Embeddings by one encoder."""
        self.policy.append(policy_NH.double())
        self.teacher.append(teacher_MH.double())

    def compute(self) -> torch.Tensor | None:
        if not len(self.policy):
            return None
        # Synced over ranks they are tensors already.
        policy_NH, teacher_MH = dim_zero_cat(self.policy), dim_zero_cat(self.teacher)
        return None if min(len(policy_NH), len(teacher_MH)) < self.fewest else self.distance(policy_NH, teacher_MH)

    @abstractmethod
    def distance(self, policy_NH: torch.Tensor, teacher_MH: torch.Tensor) -> torch.Tensor:
        """Of clouds of at least ``fewest`` points, in float64."""


class FrechetDistance(CloudDistance):
    """Of Gaussians: squared, in squared units of the embedding. Its bias falls with the number of responses."""

    def distance(self, policy_NH: torch.Tensor, teacher_MH: torch.Tensor) -> torch.Tensor:
        (mean_H, spread_NH), (other_H, other_MH) = _centred(policy_NH), _centred(teacher_MH)
        traces = spread_NH.square().sum() + other_MH.square().sum()
        cross = torch.linalg.svdvals(_compact(spread_NH) @ _compact(other_MH).T).sum()
        # Equal clouds leave a hair below 0.
        return ((mean_H - other_H).square().sum() + traces - 2 * cross).clamp_min(0)


class KernelDistance(CloudDistance):
    """Squared maximum mean discrepancy, unbiased."""

    def distance(self, policy_NH: torch.Tensor, teacher_MH: torch.Tensor) -> torch.Tensor:
        return _off_diagonal(policy_NH) + _off_diagonal(teacher_MH) - 2 * _kernel(policy_NH, teacher_MH).mean()


class Precision(CloudDistance):
    """1: all that the policy says lies where the teacher's responses lie."""

    fewest = NEIGHBOURS + 1

    def distance(self, policy_NH: torch.Tensor, teacher_MH: torch.Tensor) -> torch.Tensor:
        return _covered(policy_NH, teacher_MH)


class Recall(CloudDistance):
    """1: all that the teacher says lies where the policy's responses lie."""

    fewest = NEIGHBOURS + 1

    def distance(self, policy_NH: torch.Tensor, teacher_MH: torch.Tensor) -> torch.Tensor:
        return _covered(teacher_MH, policy_NH)


CLOUD_DISTANCES: dict[str, type[CloudDistance]] = {
    "frechet": FrechetDistance,
    "mmd2": KernelDistance,
    "precision": Precision,
    "recall": Recall,
}
"""By the names under which they are logged and written."""


def _centred(point_NH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean, and what is left, so scaled that its squares sum to the covariance's trace."""
    mean_H = point_NH.mean(0)
    return mean_H, (point_NH - mean_H) / (len(point_NH) - 1) ** 0.5


def _compact(spread_NH: torch.Tensor) -> torch.Tensor:
    """With the same covariance in at most H rows: singular values of products with it stay the same."""
    return spread_NH if len(spread_NH) <= spread_NH.shape[1] else torch.linalg.qr(spread_NH, mode="r").R


def _kernel(point_NH: torch.Tensor, other_MH: torch.Tensor) -> torch.Tensor:
    return (point_NH @ other_MH.T / point_NH.shape[1] + 1) ** _DEGREE


def _off_diagonal(point_NH: torch.Tensor) -> torch.Tensor:
    """The mean of the kernel over pairs of two different points."""
    kernel_NN, count = _kernel(point_NH, point_NH), len(point_NH)
    return (kernel_NN.sum() - kernel_NN.trace()) / (count * (count - 1))


def _covered(point_NH: torch.Tensor, by_MH: torch.Tensor) -> torch.Tensor:
    """The share of points that lie in a ball around another cloud's point which reaches that one's k-th neighbour."""
    # The nearest of all is the point itself.
    radius_M = _squares(by_MH, by_MH).kthvalue(NEIGHBOURS + 1, dim=1).values
    return (_squares(point_NH, by_MH) <= radius_M).any(1).double().mean()


def _squares(point_NH: torch.Tensor, other_MH: torch.Tensor) -> torch.Tensor:
    """Squared distances (N, M), by a product of matrices, which would round a copy away from itself."""
    norms_NM = point_NH.square().sum(1)[:, None] + other_MH.square().sum(1)
    squares_NM = norms_NM - 2 * point_NH @ other_MH.T
    return squares_NM.where(squares_NM > _ROUNDING * norms_NM, 0.0)
