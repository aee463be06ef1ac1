"""Losses, gradients and advantages against hand arithmetic.

The example of all loss tests has two responses of three and two tokens; the sixth token is padding:

    A = +2: ratios 1.25, 1.0, 0.5, importance weights 1, 1, 0.5         A = -1: ratios 1.1, 0.5, importance weights 1, 1
"""

import math
from dataclasses import replace

import pytest
import torch

from prism_pl.algorithms import DAPO, GRPO, GSPO, Algorithm, PolicyTerms
from prism_pl.algorithms.base import has_signal
from prism_pl.metrics import Means

ALGORITHMS = [GRPO(), DAPO(), GSPO()]


def make_terms(log_ratio_BT: torch.Tensor) -> PolicyTerms:
    old_logp_BT = torch.full_like(log_ratio_BT, -3.0)
    return PolicyTerms(
        logp_BT=(old_logp_BT + log_ratio_BT).requires_grad_(),
        old_logp_BT=old_logp_BT,
        weight_BT=torch.tensor([[1.0, 1.0, 0.5], [1.0, 1.0, 1.0]], dtype=torch.float64),
        mask_BT=torch.tensor([[True, True, True], [True, True, False]]),
        advantage_B=torch.tensor([2.0, -1.0], dtype=torch.float64),
        num_tokens=5,
        num_responses=2,
    )


@pytest.fixture
def token_terms() -> PolicyTerms:
    # The padding token has a ratio of 9, which must not be seen.
    return make_terms(torch.tensor([[1.25, 1.0, 0.5], [1.1, 0.5, 9.0]], dtype=torch.float64).log())


def test_grpo_by_hand(token_terms: PolicyTerms) -> None:
    means = Means()
    loss = GRPO().loss(token_terms, means)
    # First response: min(2.5, 1.2 * 2) = 2.4; min(2, 2) = 2; min(1, 0.8 * 2) * 0.5 = 0.5; together 4.9.
    # Second: min(-1.1, -1.1) = -1.1; min(-0.5, 0.8 * -1) = -0.8; together -1.9.
    # -(4.9 - 1.9) / 5 tokens = -0.6.
    assert loss.item() == pytest.approx(-0.6)
    (gradient_BT,) = torch.autograd.grad(loss, token_terms.logp_BT)
    # d(rho A w)/dlogp = rho A w where not clipped: -2 / 5, -(0.5 * 2 * 0.5) / 5, +1.1 / 5; 0 where clipped or padded.
    expected_BT = torch.tensor([[0.0, -0.4, -0.1], [0.22, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient_BT, expected_BT)
    result = means.result()
    # (1.25 + 1 + 0.5 + 1.1 + 0.5) / 5 = 0.87; two ratios of 0.5 below 0.8, one of 1.25 above 1.2.
    assert result["policy/ratio"] == pytest.approx(0.87)
    assert result["policy/clipped_low"] == pytest.approx(0.4)
    assert result["policy/clipped_high"] == pytest.approx(0.2)
    assert result["policy/loss"] == pytest.approx(-0.6)


def test_dapo_by_hand(token_terms: PolicyTerms) -> None:
    means = Means()
    loss = DAPO().loss(token_terms, means)
    # As GRPO, but 1.25 is below 1.28, so the first token gains 2.5: -(2.5 + 2 + 0.5 - 1.9) / 5 = -0.62.
    assert loss.item() == pytest.approx(-0.62)
    (gradient_BT,) = torch.autograd.grad(loss, token_terms.logp_BT)
    # ... and has a gradient: -2.5 / 5.
    expected_BT = torch.tensor([[-0.5, -0.4, -0.1], [0.22, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(gradient_BT, expected_BT)
    assert means.result()["policy/clipped_high"] == 0.0


def test_gspo_by_hand() -> None:
    terms = make_terms(torch.tensor([[6e-4, 3e-4, 0.0], [-8e-4, -4e-4, 2.0]], dtype=torch.float64))
    means = Means()
    loss = GSPO().loss(terms, means)
    # s = exp(mean log rho): exp(3e-4) = 1.000300045, inside 1.0004; exp(-6e-4) = 0.99940018, below 1 - 3e-4.
    # Weights: (1 + 1 + 0.5) / 3 = 0.8333333 and 1.
    # First response: 1.000300045 * 2 * 0.8333333 = 1.667166742. Second: min(-0.99940018, -0.9997) = -0.9997.
    # -(1.667166742 - 0.9997) / 2 responses = -0.333733371.
    assert loss.item() == pytest.approx(-0.333733371, abs=1e-9)
    (gradient_BT,) = torch.autograd.grad(loss, terms.logp_BT)
    # ds/dlogp_t = s / 3, so -1.667166742 / 3 / 2 = -0.277861124 for each token of the first, 0 for the clipped second.
    expected_BT = torch.tensor([[-0.277861124] * 3, [0.0] * 3], dtype=torch.float64)
    torch.testing.assert_close(gradient_BT, expected_BT, atol=1e-9, rtol=0)
    result = means.result()
    assert result["policy/clipped_low"] == 0.5
    assert result["policy/clipped_high"] == 0.0
    # (1.000300045 + 0.99940018) / 2 = 0.9998501125.
    assert result["policy/ratio"] == pytest.approx(0.9998501125, abs=1e-9)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_on_policy_step_clips_nothing(algorithm: Algorithm) -> None:
    terms = make_terms(torch.zeros(2, 3, dtype=torch.float64))
    means = Means()
    loss = algorithm.loss(terms, means)
    (gradient_BT,) = torch.autograd.grad(loss, terms.logp_BT)
    result = means.result()
    assert (result["policy/ratio"], result["policy/clipped_low"], result["policy/clipped_high"]) == (1.0, 0.0, 0.0)
    if isinstance(algorithm, GSPO):
        # -(2 * 0.8333333 - 1) / 2 = -0.3333333; token gradients -2 * 0.8333333 / 3 / 2 and 1 / 2 / 2.
        assert loss.item() == pytest.approx(-1 / 3)
        expected = [[-5 / 18] * 3, [0.25, 0.25, 0.0]]
    else:
        # -(2 + 2 + 1 - 1 - 1) / 5 = -0.6; token gradients -A w / 5.
        assert loss.item() == pytest.approx(-0.6)
        expected = [[-0.4, -0.4, -0.2], [0.2, 0.2, 0.0]]
    torch.testing.assert_close(gradient_BT, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_micro_batches_with_the_same_totals_sum_to_the_same_loss(algorithm: Algorithm) -> None:
    generator = torch.Generator().manual_seed(0)
    # GSPO's range is a thousand times narrower; the spread puts some ratios inside and some outside of each range.
    spread = 1e-3 if isinstance(algorithm, GSPO) else 0.5
    logp_BT = spread * torch.randn(7, 5, generator=generator, dtype=torch.float64)
    lengths_B1 = torch.tensor([5, 1, 3, 2, 5, 4, 1])[:, None]
    whole = PolicyTerms(
        logp_BT=logp_BT.requires_grad_(),
        old_logp_BT=torch.zeros_like(logp_BT),
        weight_BT=torch.rand(7, 5, generator=generator, dtype=torch.float64),
        mask_BT=torch.arange(5) < lengths_B1,
        advantage_B=torch.randn(7, generator=generator, dtype=torch.float64),
        num_tokens=21,
        num_responses=7,
    )
    means, split_means = Means(), Means()
    loss = algorithm.loss(whole, means)
    (gradient_BT,) = torch.autograd.grad(loss, logp_BT)

    def part(rows: list[int]) -> torch.Tensor:
        tensors = {key: value[rows] for key, value in vars(whole).items() if isinstance(value, torch.Tensor)}
        return algorithm.loss(replace(whole, **tensors), split_means)

    split_loss = part([6, 1]) + part([0]) + part([2, 3, 4, 5])
    (split_gradient_BT,) = torch.autograd.grad(split_loss, logp_BT)
    assert split_loss.item() == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(split_gradient_BT, gradient_BT)
    assert split_means.result() == pytest.approx(means.result())
    assert 0 < means.result()["policy/clipped_low"] < 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_advantages_golden_values(algorithm: Algorithm) -> None:
    # [1, 0, 0, 1]: mean 0.5, unbiased variance 4 * 0.25 / 3 = 1/3, so +-0.5 * sqrt(3).
    # [4, 0, 2, 2]: mean 2, unbiased variance (4 + 4) / 3, so +-2 * sqrt(3 / 8) and 0.
    reward_PG = torch.tensor([[1.0, 0.0, 0.0, 1.0], [4.0, 0.0, 2.0, 2.0]])
    high, far = 0.5 * math.sqrt(3), 2 * math.sqrt(3 / 8)
    expected_PG = torch.tensor([[high, -high, -high, high], [far, -far, 0.0, 0.0]])
    torch.testing.assert_close(algorithm.advantages(reward_PG), expected_PG)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_group_without_signal_has_no_advantage(algorithm: Algorithm) -> None:
    # 0.1 + 0.6 is one unit in the last place above 0.7 in fp32, 0.1 + 0.2 above 0.3 in fp64.
    noisy = torch.tensor([0.1, 0.7]) + torch.tensor([0.6, 0.0])
    rounding = torch.tensor([0.1 + 0.2, 0.3], dtype=torch.float64)
    assert noisy[0] != noisy[1]
    assert rounding[0] != rounding[1]
    for group in (torch.ones(2), torch.zeros(2), noisy, rounding):
        assert algorithm.advantages(group[None]).tolist() == [[0.0, 0.0]]
        assert has_signal(group[None]).tolist() == [False]
    assert algorithm.advantages(torch.tensor([[0.7]])).tolist() == [[0.0]]


def test_signal_needs_one_differing_reward() -> None:
    reward_PG = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.9999], [0.0, 0.2, 0.0]])
    assert has_signal(reward_PG).tolist() == [False, True, True]
    assert DAPO().keeps(reward_PG).tolist() == [False, True, True]
    assert GRPO().keeps(reward_PG).tolist() == [True, True, True]
    assert GSPO().keeps(reward_PG).tolist() == [True, True, True]


def test_overlong_shaping_golden_values() -> None:
    # Limit 8192, share 0.5: the buffer is 4096 and starts at 4096. 6144 is half of it, 7168 three quarters.
    length_PG = torch.tensor([[1, 4096, 6144], [7168, 8192, 9000]])
    shaped_PG = DAPO(overlong_share=0.5).shape(torch.zeros(2, 3), length_PG, 8192)
    assert shaped_PG.tolist() == [[0.0, 0.0, -0.5], [-0.75, -1.0, -1.0]]
    # It is added to the reward, and scaled by the penalty: 1 - 2 * 0.5 = 0.
    shaped_PG = DAPO(overlong_share=0.5, overlong_penalty=2.0).shape(torch.ones(1, 1), torch.tensor([[6144]]), 8192)
    assert shaped_PG.tolist() == [[0.0]]


def test_overlong_shaping_of_the_paper() -> None:
    # 20,480 tokens with the default share of 0.2: a buffer of 4096 from 16,384; 18,432 is half of it.
    shaped_PG = DAPO().shape(torch.zeros(1, 3), torch.tensor([[16384, 18432, 20480]]), 20480)
    torch.testing.assert_close(shaped_PG, torch.tensor([[0.0, -0.5, -1.0]]))


@pytest.mark.parametrize("algorithm", [GRPO(), GSPO(), DAPO(overlong_share=0.0)])
def test_no_shaping_without_a_buffer(algorithm: Algorithm) -> None:
    assert algorithm.shape(torch.ones(1, 2), torch.tensor([[5, 8192]]), 8192).tolist() == [[1.0, 1.0]]


def test_each_algorithm_brings_the_defaults_of_its_paper() -> None:
    assert (GRPO().clip_low, GRPO().clip_high, GRPO().max_resampling) == (0.2, 0.2, 0)
    assert (DAPO().clip_low, DAPO().clip_high, DAPO().max_resampling) == (0.2, 0.28, 10)
    assert (GSPO().clip_low, GSPO().clip_high, GSPO().max_resampling) == (3e-4, 4e-4, 0)
