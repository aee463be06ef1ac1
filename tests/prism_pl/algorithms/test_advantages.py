"""Advantage estimators against hand arithmetic."""

import math
from dataclasses import replace

import pytest
import torch

from prism_pl.algorithms import (
    AdvantageEstimator,
    BatchWhitened,
    DecoupledNormalised,
    GroupCentred,
    GroupNormalised,
    LeaveOneOut,
    Outcomes,
    RewardTerm,
)
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


def several(rewards: list[torch.Tensor], weights: list[float]) -> Outcomes:
    """Outcomes of unweighted rewards (P, G)."""
    terms = tuple(RewardTerm(weight * reward_PG, weight) for reward_PG, weight in zip(rewards, weights, strict=True))
    total_PG = torch.stack([term.value_PG for term in terms]).sum(0)
    return Outcomes(total_PG, torch.ones_like(total_PG), lambda sums: sums, terms)


def test_decoupled_normalised_by_hand() -> None:
    # Group 1: correct 1, 0, 0, 1 is +-h with h = 0.5 * sqrt(3), as above; short 1, 1, 0, 0 likewise. Group 2: correct 0
    # throughout, which teaches nothing; short 4, 0, 2, 2 is +-f with f = 2 * sqrt(3 / 8), and 0, 0.
    correct_PG = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0]])
    short_PG = torch.tensor([[1.0, 1, 0, 0], [4, 0, 2, 2]])
    # S with weights 1 and 1/2: 1.5 h, -0.5 h, -1.5 h, 0.5 h; 0.5 f, -0.5 f, 0, 0.
    # h^2 = 3/4, f^2 = 3/2: squares add up to (2.25 + 0.25 + 2.25 + 0.25) 3/4 + (0.25 + 0.25) 3/2 = 3.75 + 0.75 = 4.5;
    # unbiased over 8 responses the variance is 4.5 / 7. The mean is 0.
    h, f, std = 0.5 * math.sqrt(3), 2 * math.sqrt(3 / 8), math.sqrt(4.5 / 7)
    expected_PG = torch.tensor([[1.5 * h, -0.5 * h, -1.5 * h, 0.5 * h], [0.5 * f, -0.5 * f, 0, 0]]) / std
    given = several([correct_PG, short_PG], [1.0, 0.5])
    torch.testing.assert_close(DecoupledNormalised()(given), expected_PG)
    # How large a reward is does not matter, its weight does.
    torch.testing.assert_close(DecoupledNormalised()(several([correct_PG, 100 * short_PG], [1.0, 0.5])), expected_PG)
    # A reward that is to be small: the negative weight turns its part of S round.
    turned_PG = torch.tensor([[0.5 * h, -1.5 * h, -0.5 * h, 1.5 * h], [-0.5 * f, 0.5 * f, 0, 0]]) / std
    torch.testing.assert_close(DecoupledNormalised()(several([correct_PG, short_PG], [1.0, -0.5])), turned_PG)


def test_rewards_that_add_up_to_the_same_keep_their_differences() -> None:
    # 1 + 0, 0 + 3 / 3, 0 + 0, 0 + 0: two sums of 1, but from rewards of different weight.
    first_PG, second_PG = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[0.0, 3, 0, 0]])
    given = several([first_PG, second_PG], [1.0, 1 / 3])
    alike, decoupled = GroupNormalised()(given)[0], DecoupledNormalised()(given)[0]
    assert alike[0] == alike[1]
    # Both normalised are 3/2, -1/2, -1/2, -1/2: S = 3/2 - 1/6, -1/2 + 1/2, -1/2 - 1/6 twice = 4/3, 0, -2/3, -2/3.
    # The variance is (16 + 4 + 4) / 9 / 3 = 8 / 9.
    torch.testing.assert_close(decoupled, torch.tensor([4 / 3, 0, -2 / 3, -2 / 3]) / math.sqrt(8 / 9))


def test_decoupled_rewards_are_normalised_over_the_batch_of_all_ranks() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = [torch.rand(5, 4, generator=generator), torch.randint(0, 2, (5, 4), generator=generator).float()]
    weights = [0.7, 0.2]
    whole_PG = DecoupledNormalised()(several(rewards, weights))
    # Rank r of 2 has every second row: three and two of them.
    ranks = [several([reward_PG[r::2] for reward_PG in rewards], weights) for r in range(2)]
    sent: list[torch.Tensor] = []
    for given in ranks:
        DecoupledNormalised()(replace(given, total=lambda sums: (sent.append(sums), sums)[1]))
    total = sent[0] + sent[1]
    for r, given in enumerate(ranks):
        torch.testing.assert_close(DecoupledNormalised()(replace(given, total=lambda _: total)), whole_PG[r::2])
        # By itself the rank would have another scale.
        assert not torch.allclose(DecoupledNormalised()(given), whole_PG[r::2], rtol=1e-3)
    # The formula itself, with the mean that is 0.
    parts = [w * (r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True) for w, r in zip(weights, rewards, strict=True)]
    sum_PG = parts[0] + parts[1]
    torch.testing.assert_close(whole_PG, (sum_PG - sum_PG.mean()) / sum_PG.std())


@pytest.mark.parametrize("shape", [(2, 3), (3, 1)])
def test_decoupled_rewards_without_signal_teach_nothing(shape: tuple[int, int]) -> None:
    given = several([torch.full(shape, 0.7), torch.zeros(shape)], [1.0, 0.5])
    assert DecoupledNormalised()(given).tolist() == torch.zeros(shape).tolist()
