"""Advantage estimators against hand arithmetic."""

import math

import pytest
import torch

from prism_pl.algorithms import AdvantageEstimator, BatchWhitened, GroupCentred, GroupNormalised, LeaveOneOut, Outcomes
from prism_pl.algorithms.inputs import has_signal

GROUPED = [GroupNormalised(), GroupCentred(), LeaveOneOut()]


def outcomes(rewards: list[list[float]], lengths: list[list[int]] | None = None, ranks: int = 1) -> Outcomes:
    reward_PG = torch.tensor(rewards)
    length_PG = torch.tensor(lengths) if lengths else torch.ones_like(reward_PG)
    return Outcomes(reward_PG, length_PG, lambda sums: sums * ranks)


def test_group_normalised_by_hand() -> None:
    # [1, 0, 0, 1]: mean 0.5, unbiased variance 4 * 0.25 / 3 = 1/3, so +-0.5 * sqrt(3).
    # [4, 0, 2, 2]: mean 2, unbiased variance (4 + 4) / 3, so +-2 * sqrt(3 / 8) and 0.
    high, far = 0.5 * math.sqrt(3), 2 * math.sqrt(3 / 8)
    expected_PG = torch.tensor([[high, -high, -high, high], [far, -far, 0.0, 0.0]])
    torch.testing.assert_close(GroupNormalised()(outcomes([[1, 0, 0, 1], [4.0, 0, 2, 2]])), expected_PG)


def test_group_centred_and_leave_one_out_by_hand() -> None:
    given = outcomes([[1.0, 0, 0, 1], [4, 0, 2, 2]])
    assert GroupCentred()(given).tolist() == [[0.5, -0.5, -0.5, 0.5], [2, -2, 0, 0]]
    # 1 against the mean of 0, 0, 1: 2/3; 4 against the mean of 0, 2, 2: 8/3.
    expected_PG = torch.tensor([[2 / 3, -2 / 3, -2 / 3, 2 / 3], [8 / 3, -8 / 3, 0, 0]])
    torch.testing.assert_close(LeaveOneOut()(given), expected_PG)


@pytest.mark.parametrize("ranks", [1, 2])
def test_batch_whitened_by_hand(ranks: int) -> None:
    # Tokens 1, 3; 2, 2 with rewards 1, 0; 1, 1: mean 5/8, variance 5/8 - 25/64 = 15/64.
    given = outcomes([[1.0, 0.0], [1.0, 1.0]], [[1, 3], [2, 2]], ranks)
    std = math.sqrt(15) / 8
    good, bad = 0.375 / std, -0.625 / std
    torch.testing.assert_close(BatchWhitened()(given), torch.tensor([[good, bad], [good, good]]))
    # Centred in the group first: 1/2, -1/2; 0, 0. Mean (1/2 - 3/2) / 8 = -1/8, variance 1/8 - 1/64 = 7/64.
    std = math.sqrt(7) / 8
    expected_PG = torch.tensor([[0.625 / std, -0.375 / std], [0.125 / std, 0.125 / std]])
    torch.testing.assert_close(BatchWhitened(group_baseline=True)(given), expected_PG)


def test_whitened_tokens_have_mean_0_and_variance_1() -> None:
    generator = torch.Generator().manual_seed(0)
    reward_PG, length_PG = torch.rand(5, 4, generator=generator), torch.randint(1, 9, (5, 4), generator=generator)
    advantage_PG = BatchWhitened()(Outcomes(reward_PG, length_PG, lambda sums: sums))
    tokens_N = torch.repeat_interleave(advantage_PG.flatten(), length_PG.flatten()).double()
    assert tokens_N.mean().item() == pytest.approx(0, abs=1e-6)
    assert tokens_N.var(unbiased=False).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("estimator", [*GROUPED, BatchWhitened()])
def test_equal_rewards_teach_nothing(estimator: AdvantageEstimator) -> None:
    # 0.1 + 0.6 is one unit in the last place above 0.7 in fp32.
    noisy = torch.tensor([[0.1, 0.7]]) + torch.tensor([[0.6, 0.0]])
    assert noisy[0, 0] != noisy[0, 1]
    for reward_PG in (torch.ones(1, 2), torch.zeros(1, 2), noisy):
        given = Outcomes(reward_PG, torch.ones(1, 2), lambda sums: sums)
        assert estimator(given).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("estimator", GROUPED)
def test_a_group_of_one_has_no_advantage(estimator: AdvantageEstimator) -> None:
    assert estimator(outcomes([[0.7]])).tolist() == [[0.0]]


def test_signal_needs_one_differing_reward() -> None:
    reward_PG = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.9999], [0.0, 0.2, 0.0]])
    assert has_signal(reward_PG).tolist() == [False, True, True]
